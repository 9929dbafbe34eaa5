"""Hypothesis profiles: `ci` (the default: the same examples every time), `check` (as `ci`, with more lives of the state machines),
`soak` (20 times as many examples, new ones each time) and `mutants` (as `ci`, but a failure is enough: it is not made small).

Chosen by the environment variable HYPOTHESIS_PROFILE.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

_SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large)

settings.register_profile("ci", derandomize=True, deadline=None, database=None, suppress_health_check=_SLOW)
settings.register_profile("check", settings.get_profile("ci"))
# Said, not left to the default: where CI is set, Hypothesis's own default draws the same examples every time.
settings.register_profile("soak", derandomize=False, deadline=None, suppress_health_check=_SLOW, print_blob=True)
settings.register_profile("mutants", settings.get_profile("ci"), phases=(Phase.explicit, Phase.generate))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
