"""The terminal heatmap: one row per update domain, one cell per VM, colour by state.

The successor of Vmsseditor's heatmap shows what that one did not: which VM is on the new image, and which one serves.
A row wraps where the terminal is too narrow; sets in zones have one row per zone and update domain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

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


def _zone_of(instance: Instance) -> str:
    return f"zone {instance.zone}" if instance.zone else "no zone"


def rows(
    scale_set: ScaleSet, target: Target, width: int, ours: frozenset[str] = frozenset(), *, between: str = " "
) -> list[Text]:
    """The heatmap's lines. ours: instances that an operation is sent to just now. between: what stands after each cell."""
    return _lines(_by_row(scale_set, target, ours), width, between)


def _lines(by_row: dict[str, list[str]], width: int, between: str) -> list[Text]:
    label = max((len(name) for name in by_row), default=0)
    room = max(10, (width - label - 10) // (1 + len(between)))
    made: list[Text] = []
    for name, cells in by_row.items():
        for start in range(0, len(cells), room):
            line = Text(f"{name if start == 0 else '':>{label}}  ")
            for cell in cells[start : start + room]:
                line.append(STATES[cell][0] + between, style=STATES[cell][1])
            if start + room >= len(cells):
                line.append(f" {_serving(cells)}/{len(cells)}", style="dim")
            made.append(line)
    return made


def fitted(
    scale_set: ScaleSet, target: Target, width: int, height: int, ours: frozenset[str] = frozenset()
) -> list[Text]:
    """The heatmap in at most so many lines: as loose as there is room for. Rows side by side, then cells without space between
    them, then numbers in place of cells; then the same by zone; what then has no room is told by its number.
    """
    lines: list[Text] = []
    for label in (_row_of, _zone_of):
        by_row = _by_row(scale_set, target, ours, label)
        for form in (
            _lines(by_row, width, " "),
            _lines(by_row, width, ""),
            [_numbers(name, cells) for name, cells in by_row.items()],
        ):
            lines = _side_by_side(form, width, height)
            if len(lines) <= height:
                return lines
    more = len(lines) - height + 1
    return [*lines[: height - 1], Text(f"and {more} more lines, for which this terminal has no room", style="dim")]


def _side_by_side(lines: list[Text], width: int, height: int) -> list[Text]:
    """In as few columns as it takes, downwards first; where that cannot be, as they are."""
    columns = -(-len(lines) // max(1, height))
    wide = max((len(line) for line in lines), default=0)
    if columns < 2 or columns * (wide + 3) - 3 > width:
        return lines
    high = -(-len(lines) // columns)
    made = []
    for index in range(high):
        line = Text()
        for part in lines[index::high]:
            line.append(" " * (-len(line) % (wide + 3)))
            line.append_text(part)
        made.append(line)
    return made


def _numbers(name: str, cells: list[str]) -> Text:
    line = Text(f"{name} ")
    for state_, (symbol, style) in STATES.items():
        if count := cells.count(state_):
            line.append(f" {count}{symbol}", style=style)
    return line


def _by_row(
    scale_set: ScaleSet, target: Target, ours: frozenset[str], label: Callable[[Instance], str] = _row_of
) -> dict[str, list[str]]:
    source, by_row = scale_set.model.health_source, dict[str, list[str]]()
    for instance in sorted(scale_set.instances.values(), key=placement_key):
        by_row.setdefault(label(instance), []).append(state(instance, target, source, ours=instance.id in ours))
    return by_row


def _serving(cells: list[str]) -> int:
    return sum(cell in ("old, serving", "new, serving", "protected") for cell in cells)


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


def legend_lines(scale_set: ScaleSet, target: Target, width: int, ours: frozenset[str] = frozenset()) -> list[Text]:
    """What the cells that are there mean, in lines of that width."""
    there = {cell for cells in _by_row(scale_set, target, ours).values() for cell in cells}
    made = [Text()]
    for name in STATES:
        if name in there:
            part = legend_line((name,))
            if len(made[-1]) + len(part.plain.rstrip()) > width:
                made.append(Text())
            made[-1].append_text(part)
    return made


def legend(console: Console, used: Iterable[str] = STATES) -> None:
    """Print what the cells mean."""
    console.print(legend_line(used))
