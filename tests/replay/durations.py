"""How long recorded operations took, against the world with its fitted timings.

Rules:

1. An operation is judged by a world in its situation (how many instances, which of them current, mode, health source),
   run `RUNS` times: is the recorded duration within the central 90 % of the world's?
2. *In the fit*: with the shipped timings. *One draw a request*: the same, as if the request named one instance only, that
   is with the same luck for all. *Family left out*: with timings fitted to the recordings of all other scripts;
   *year left out*: of all other years. Where fewer than `LEAST` operations would be left, it is not judged.
3. Judged are operations since 2021, as the fit is. Not where instances were still settling after their creation, which is
   outside the starting state: they were last seen updating, or a model update took over `IDLE_S`. Not what has no timing of
   its own (protection), nor a cancel (it needs something to cancel).
4. Recorders that wait no longer than they must make later operations look like earlier ones: shares over few families are
   no tests of hypotheses. They are reported, and a test holds the lowest ones it has seen.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from bench.fit_timings import IDLE_S, RECORDINGS, SOURCES, Row, family, fit_row, read, rows_of, seconds_of
from tests.replay.session import Replay, Took
from tests.replay.start import era
from vmss_sim.world.config import Image, Machine, Timings, WorldConfig
from vmss_sim.world.draws import Draws
from vmss_sim.world.recorded import RECORDED
from vmss_sim.world.scale_set import IMAGE, World
from vmss_sim.world.timings import Timing

RUNS = 200
LEAST = 10
SINCE = "2021"
SEED = 20
FOREVER_MS = 86_400_000

_IMAGE = Image(version="latest", exact="1.0.0")

Table = Mapping[str, Timing | None]


class Share(NamedTuple):
    """inside of judged lie within the central 90 %; families of scripts among them; unjudged: too few others to fit to."""

    inside: int
    judged: int
    families: int
    unjudged: int


@functools.cache
def shipped(system: str) -> Table:
    """The default timings of one system."""
    return {name: rows[system].timing for name, rows in RECORDED.items() if system in rows}  # type: ignore[index]


@functools.cache
def _rows(path: Path) -> list[Row]:
    return read(path)


@functools.cache
def without(system: str, of: Callable[[Row], str], name: str, path: Path = RECORDINGS) -> Table:
    """Timings fitted to all rows but those that `of` calls `name`; None where too few are left."""
    rest = [row for row in _rows(path) if of(row) != name]
    table: dict[str, Timing | None] = {}
    for source in SOURCES:
        if system not in source.systems:
            continue
        rows = rows_of(source, system, rest)  # type: ignore[arg-type]
        few = len(rows) < LEAST
        table[source.operation] = None if few else fit_row(source, system, seconds_of(source, system, rest)).row.timing  # type: ignore[arg-type]
    return table


def script(took: Took) -> str:
    """The family of a recording, as the fit names it."""
    return family({"recording": took.recording.rpartition(".")[0].lower()})


def year(row: Row) -> str:
    return row["start"][:4]


def quantiles(took: Took, table: Table) -> tuple[float, float] | None:
    """Rule 1: the 5 % and the 95 % quantile of the world's durations in seconds; None where a timing it needs is missing."""
    operations = _Watched({name: timing for name, timing in table.items() if timing is not None})
    missing = {name for name, timing in table.items() if timing is None}
    found = _run(took, operations)
    if operations.asked & missing or not operations.asked & set(operations):
        return None
    return found[round(0.05 * (RUNS - 1))] / 1000, found[round(0.95 * (RUNS - 1))] / 1000


class _Watched(dict[str, Timing]):
    """Timings that remember which were asked for."""

    def __init__(self, rows: Mapping[str, Timing]) -> None:
        super().__init__(rows)
        self.asked: set[str] = set()

    def get(self, key: str, default: Timing | None = None) -> Timing | None:  # type: ignore[override]
        self.asked.add(key)
        return super().get(key, default)


def _run(took: Took, operations: dict[str, Timing]) -> list[int]:
    named = len(took.current)
    count = max(took.instances, named)
    machines = tuple(
        Machine(
            id=str(number),
            vm_id=str(number),
            image=_IMAGE,
            latest=number >= named or took.current[number],
            power=took.power[number] if number < named else "running",
        )
        for number in range(count)
    )
    durations = []
    for replication in range(RUNS):
        config = WorldConfig(
            name="set",
            machines=machines,
            model={f"{IMAGE}version": "latest"},
            latest=_IMAGE.exact,
            timings=Timings(operations=operations),
            mode=took.mode,
            health=took.health,
            platform=era(took.recorded_on),
        )
        world = World(config, Draws(SEED, replication, count))
        args: dict[str, object] = {}
        if took.kind == "update-model":
            args["patch"] = {"x": 1} if took.changed else {}
            if took.capacity is not None:
                args["capacity"] = took.capacity
        if took.kind == "run-command":
            args["run_name"] = "x"
        reply = world.submit("one", took.kind, tuple(str(number) for number in range(named)), **args)
        assert reply.operation is not None, (took, reply.code)
        world.run(FOREVER_MS, stop_on_wake=False)
        durations.append(reply.operation.ends_at)
    return sorted(durations)


def judged_here(took: Took) -> bool:
    """Rule 3."""
    if took.recorded_on < SINCE or took.system == "unknown" or took.settling or took.kind == "cancel-rolling-upgrade":
        return False
    return took.kind != "update-model" or took.mode == "rolling" or took.seconds < IDLE_S


def shares(tooks: Iterable[Took], table_of: Callable[[Took], Table]) -> dict[tuple[str, str], Share]:
    """The shares by kind of operation and system."""
    found: dict[tuple[str, str], list[tuple[str, bool | None]]] = {}
    cache: dict[tuple[object, ...], tuple[float, float] | None] = {}
    for took in tooks:
        if not judged_here(took):
            continue
        table = table_of(took)
        key = (took._replace(recording="", recorded_on="", seconds=0.0), era(took.recorded_on), id(table))
        if key not in cache:
            cache[key] = quantiles(took, table)
        ends = cache[key]
        inside = None if ends is None else ends[0] - 0.0005 <= took.seconds <= ends[1] + 0.0005
        found.setdefault((name_of(took), took.system), []).append((script(took), inside))
    return {
        key: Share(
            inside=sum(inside is True for _, inside in rows),
            judged=sum(inside is not None for _, inside in rows),
            families=len({name for name, inside in rows if inside is not None}),
            unjudged=sum(inside is None for _, inside in rows),
        )
        for key, rows in sorted(found.items())
    }


def known(took: Took) -> Took:
    """With the system that other recordings of the script tell, where this one shows no model."""
    if took.system != "unknown":
        return took
    systems = {row["os"].lower() for row in _rows(RECORDINGS) if family(row) == script(took)}
    return took._replace(system=systems.pop()) if len(systems) == 1 and "" not in systems else took


def name_of(took: Took) -> str:
    """What an operation is called in the report."""
    if took.kind == "upgrade":
        return "upgrade, nothing to do" if all(took.current) else "upgrade, an extension or a like change"
    if took.kind == "update-model":
        if took.capacity is not None:
            return "scale-in" if took.capacity < took.instances else "scale-out"
        return (
            "update-model, mode Rolling"
            if took.mode == "rolling"
            else f"update-model, mode {took.mode.capitalize()}, idle"
        )
    return took.kind


def alone(took: Took) -> Took:
    """The same operation on one instance, where it was on several."""
    return took._replace(instances=1, current=took.current[:1], power=took.power[:1]) if took.current else took


def report(runs: Iterable[Replay]) -> list[tuple[str, str, Share, Share, Share, Share]]:
    """By operation and system: with the shipped timings, with one draw a request, family left out, year left out."""
    tooks = [known(took) for run in runs for took in run.took]
    kinds = (
        shares(tooks, lambda took: shipped(took.system)),
        shares(map(alone, tooks), lambda took: shipped(took.system)),
        shares(tooks, lambda took: without(took.system, family, script(took))),
        shares(tooks, lambda took: without(took.system, year, took.recorded_on[:4])),
    )
    return [(*key, *(one[key] for one in kinds)) for key in kinds[0]]
