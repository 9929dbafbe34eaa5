"""Pretends and measures. Imports nothing by itself."""
