"""Decides: pure values and functions, no clock, randomness, files, network or environment."""
