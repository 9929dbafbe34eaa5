"""Act: one protocol, one driver, one guard, the journal, and a backend for each world."""
