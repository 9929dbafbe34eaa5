"""Real Azure clients, each in an environment of its own, against the emulator: collected by `make clients` only."""
