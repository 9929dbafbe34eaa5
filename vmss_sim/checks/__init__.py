"""The conformance kit: what other people's tests use of ours. Nothing here is imported unless it is asked for."""
