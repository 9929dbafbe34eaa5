"""The rollout machine worked out, by concern. The rules stand in `planner/rollout.py`."""
