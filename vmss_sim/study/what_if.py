"""What a preview is asked beside the snapshot: the next image where nobody named one, and another upgrade mode."""

from __future__ import annotations

import msgspec

from planner.errors import InputError
from planner.model import ScaleSet, UpgradeMode
from scenarios.build import Setup
from scenarios.given import Assumption

NEXT = "next"  # the version of an image that nobody named


def assumed_target(fleet: ScaleSet) -> str | None:
    """What stands for the next image where nobody said one (rule 4); None where the model names no image.

    Instances that are behind the model already are the change then, and nothing is assumed.
    """
    image = fleet.model.image
    if image is None or any(one.latest_model is False for one in fleet.instances.values()):
        return None
    if image.uri:
        return f"{image.uri}-{NEXT}"
    if image.id:
        return f"{image.id.rstrip('/').rpartition('/versions/')[0] or image.id}/versions/{NEXT}"
    return NEXT


def as_if_in(setup: Setup, word: str) -> Setup:
    """The same set in another upgrade mode. Raises InputError."""
    put = msgspec.structs.replace
    try:
        mode = UpgradeMode(word.lower())
    except ValueError as error:
        known = ", ".join(one.value for one in UpgradeMode)
        raise InputError("no such upgrade mode", "--mode", repr(word), known) from error

    def moved(fleet: ScaleSet) -> ScaleSet:
        return put(fleet, model=put(fleet.model, mode=mode))

    told = Assumption(name="upgrade mode", value=f"as if it were {mode.value.capitalize()}", origin="yours")
    return put(
        setup,
        scale_set=moved(setup.scale_set),
        observed=moved(setup.observed),
        world=put(setup.world, mode=mode.value),
        assumptions=(*setup.assumptions, told),
    )
