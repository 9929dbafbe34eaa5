"""Replay of recorded traffic against the world."""
