"""Timings and failure rates out of a history of real operations."""
