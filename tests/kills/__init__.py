"""The crash test: `apply` as a process, killed at any write of the journal and at any other time, again and again, and gone on with.

Rules:

1. A *tale* (`tales.py`) is a rollout: a scale set, a plan, whose upgrade fails, and what an operator says on the way. Half of them are a
   table, the others are drawn.
2. It is told on a *ground* (`grounds.py`): `loopback` (a simulated world behind a socket, the simulated backend) or `azure` (the
   same world behind the ARM server, HTTPS, the real backend). Either way the world outlives every executor.
3. Each executor is a process of its own, which is killed by SIGKILL; the processes are forked from one that has imported everything
   (0.1 s instead of 1 s), some are started plainly (`python -m vmss_sim …`). After a death nobody is there for a while, and half of the time
   the next executor is on an empty disk: it has a copy of the store, and nothing else.
4. What must hold (`judging.py`) is read from the world's own books: no disruptive effect twice, the plan's order, the floor, the same end
   as without a death, repairs and mode as before.
5. At every word that an operator says in the first tales of the table (`tales.SAYS`) somebody is killed, whatever the luck; 60 kills are enough for
   all of them. `recover` is one: nothing of the store is left then, and what was sent before is held only to the end without a death. A run ends with a table: how many died at which word, in which phase.
6. That it notices a product that is wrong is a test of its own (`planted.py`, `tests/test_kills_planted.py`).

One setting says how many kills: VMSS_SIM_KILLS on each ground, 60 by default, 10,000 for `make soak`; VMSS_SIM_KILLS_SEED draws others.
A tale that fails says how it alone is told again: `python -m tests.kills --only GROUND/SEED/NUMBER`.
"""

from __future__ import annotations

import os

KILLS = int(os.environ.get("VMSS_SIM_KILLS") or 60)
SEED = int(os.environ.get("VMSS_SIM_KILLS_SEED") or 1)
