"""Replay of recorded requests against the ARM endpoint."""
