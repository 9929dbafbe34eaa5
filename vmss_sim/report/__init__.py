"""Tables, terminal views and stories for people."""
