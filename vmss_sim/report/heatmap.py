"""The terminal heatmap: one row per update domain, one cell per VM, colour by state.

The successor of Vmsseditor's heatmap shows what that one did not: which VM is on the new image, and which one serves.
A row wraps where the terminal is too narrow; sets in zones have one row per zone and update domain.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from planner.change import Target, at_target
from planner.model import HealthSource, Instance, Provisioning, ScaleSet, Service, placement_key, runs, service

STATES: dict[str, tuple[str, str]] = {
    "old, serving": ("□", "blue"),
    "in operation": ("▲", "yellow"),
    "new, not serving yet": ("○", "cyan"),
    "new, serving": ("■", "green"),
    "out of service": ("✗", "bold red"),
    "protected": ("▣", "bright_black"),
}


def state(instance: Instance, target: Target, source: HealthSource, *, ours: bool = False) -> str:
    """Which of the states above an instance is in. New or old is told by what it boots, where the change is about that: the
    flag `latestModelApplied` turns when the model is put back. ours: an operation of the rollout is sent to it just now.
    """
    if ours or instance.provisioning in (Provisioning.UPDATING, Provisioning.CREATING, Provisioning.DELETING):
        return "in operation"
    serves = service(instance, source) is Service.IN
    new = (at_target(instance, target) if target.image is None else runs(instance.image, target.image)) is True
    if not serves:
        failed = instance.provisioning is Provisioning.FAILED
        return "new, not serving yet" if new and not failed else "out of service"
    if instance.protected and not new:
        return "protected"
    return "new, serving" if new else "old, serving"


def _row_of(instance: Instance) -> str:
    zone = f"zone {instance.zone} " if instance.zone else ""
    return zone + (f"UD {instance.update_domain}" if instance.update_domain is not None else "no UD")


def rows(scale_set: ScaleSet, target: Target, width: int, ours: frozenset[str] = frozenset()) -> list[Text]:
    """The heatmap's lines. ours: instances that an operation is sent to just now."""
    source = scale_set.model.health_source
    made: list[Text] = []
    by_row: dict[str, list[str]] = {}
    for instance in sorted(scale_set.instances.values(), key=placement_key):
        by_row.setdefault(_row_of(instance), []).append(state(instance, target, source, ours=instance.id in ours))
    label = max((len(name) for name in by_row), default=0)
    room = max(10, (width - label - 10) // 2)
    for name, cells in by_row.items():
        serving = sum(cell in ("old, serving", "new, serving", "protected") for cell in cells)
        for start in range(0, len(cells), room):
            line = Text(f"{name if start == 0 else '':>{label}}  ")
            for cell in cells[start : start + room]:
                line.append(STATES[cell][0] + " ", style=STATES[cell][1])
            if start + room >= len(cells):
                line.append(f" {serving}/{len(cells)}", style="dim")
            made.append(line)
    return made


def heatmap(
    console: Console, scale_set: ScaleSet, target: Target, title: str, ours: frozenset[str] = frozenset()
) -> None:
    """Print one heatmap."""
    console.print(Text(title, style="bold"))
    for line in rows(scale_set, target, console.width, ours):
        console.print(line)


def legend_line(used: Iterable[str] = STATES) -> Text:
    """What the cells mean."""
    line = Text()
    for name in used:
        line.append(STATES[name][0], style=STATES[name][1])
        line.append(f" {name}   ", style="dim")
    return line


def legend(console: Console, used: Iterable[str] = STATES) -> None:
    """Print what the cells mean."""
    console.print(legend_line(used))
