"""The front door: one file a command group; parses and prints, holds no logic."""
