"""A local ARM endpoint over a simulated scale set: what any Azure client can talk to."""
