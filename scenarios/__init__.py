"""Ask "what if": the scenario schema, its loader, and the bundled scenarios."""
