"""The SimPy scale set: it models Azure, not what the planner expects."""
