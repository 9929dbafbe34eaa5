"""What `emulate` prints: what to paste, a line for each request that changes something, the report.

Contract: nothing secret. It may end in the log of a pipeline; the control token is named by its file, which only its owner reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text

from vmss_sim.arm.http import Request, Response
from vmss_sim.arm.session import Block, Session
from vmss_sim.report.times import clock
from vmss_sim.study.recommend import span

SHOWN_IDS = 8


def opening(console: Console, session: Session) -> None:
    """Where it listens, and what to paste."""
    emulator = session.emulator
    stage, clock_ = emulator.stage, emulator.clock
    speed = f" {clock_.speed:g} times as fast" if clock_.speed != 1 else ""
    about = f"{stage.yardstick.total} instances on {session.url}, seed {stage.seed}, clock {clock_.kind}{speed}"
    console.print(Text(f"{stage.title}: {about}"), soft_wrap=True)
    console.print(Text(_about_images(emulator.images(), known=emulator.site.versions_known)), soft_wrap=True)
    if session.authority is not None:
        console.print(
            Text(f"CA: {session.ca} ({'created' if session.authority.created else 'as before'})"), soft_wrap=True
        )
    console.print(Text(f"control token: in {session.token_file}\n"), soft_wrap=True)
    blocks(console, session.blocks())
    console.print("\nCtrl-C ends it, with the report.")


def _about_images(found: dict[str, str | None], *, known: bool) -> str:
    """What the model names, and what it is to become."""
    model, target = found["model"] or "none", found["target"]
    if not known:
        return f"the model's image: {model}; any version of it is accepted"
    if target is None:
        return f"the model's image: {model}"
    return f"the model's image: {model}; the scenario's target: {target}"


def blocks(console: Console, found: Iterable[Block]) -> None:
    """What to paste, ready to be pasted: no line is folded."""
    for one in found:
        note = "" if one.tested else " (not run in our tests)"
        console.print(Text(f"# {one.client}{note}", style="cyan"), soft_wrap=True)
        for line in one.lines:
            console.print(Text(line), soft_wrap=True)


def restored(console: Console, file: Path, stand_ins: int) -> None:
    """What is not as it was when the snapshot was taken."""
    texts = "1 text" if stand_ins == 1 else f"{stand_ins} texts"
    console.print(
        Text(f"{file}: no snapshot holds user data, scripts or their parameters: {texts} read as `(removed …)`"),
        soft_wrap=True,
    )


def line(console: Console, request: Request, response: Response, at_ms: int) -> None:
    """One request that changes something."""
    told = Text(f"{clock(at_ms):>8}  ")
    told.append(
        f"{response.status or 'lost':<5}", style="red" if response.status >= 400 or not response.status else "green"
    )
    told.append(_plain(f"{request.method} {_about(request)}"))
    if response.status >= 400 and isinstance(response.body, dict):
        error = response.body.get("error", {})
        told.append(_plain(f"  {error.get('code')}: {error.get('message')}"), style="red")
    console.print(told, soft_wrap=True)


def _plain(text: str) -> str:
    """What a client sent, without what a terminal would obey."""
    return "".join(one if one.isprintable() else "?" for one in text)


def _about(request: Request) -> str:
    """The path after the resource group, and the instances named."""
    at = request.path.lower().find("/providers/")
    words = request.path[at + len("/providers/") :] if at >= 0 else request.path.lstrip("/")
    words = words.replace("Microsoft.Compute/virtualMachineScaleSets/", "")
    try:
        said = msgspec.json.decode(request.body) if request.body else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said = {}
    ids = said.get("instanceIds") if isinstance(said, dict) else None
    if not isinstance(ids, list):
        return words
    more = ", …" if len(ids) > SHOWN_IDS else ""
    return f"{words} [{', '.join(map(str, ids[:SHOWN_IDS]))}{more}]"


def report(console: Console, found: dict[str, Any]) -> None:
    """The report of an emulation, as `simulate` ends."""
    instances, metrics, time = found["instances"], found["metrics"], found["time"]
    serving = (
        f"{instances['serving']} of {instances['total']} in service, {instances['latest_model']} on the latest model"
    )
    images = found["images"]
    if images["target"] not in (None, images["model"]):
        serving += f"; the model names {images['model']}, not the scenario's target {images['target']}"
    else:
        serving += f" ({images['model']})"
    for number, one in enumerate(found["faults"], 1):
        if not one["met"]:
            what = f"fault {number} ({one['verdict']}{', of ' * bool(one['of'])}{one['of']})"
            console.print(
                Text(f"{what} was never met: its numbers count requests of every kind", style="yellow"), soft_wrap=True
            )
    if found["started_s"] is None:
        console.print(Text(f"nothing was changed; {serving}"), soft_wrap=True)
        return
    if metrics is None:
        console.print(Text(f"no figures: {found['refused']}", style="bold yellow"), soft_wrap=True)
    else:
        missed = found["breaches"]
        how = "ended" if found["complete"] else "not ended"
        told = f"{how} after {span(metrics['duration_s'])}" + (
            f"; objective missed: {', '.join(missed)}" if missed else ""
        )
        console.print(Text(told, style="bold red" if missed or not found["complete"] else "bold green"))
        bad = metrics["bad_exposure_vm_s"]
        console.print(
            f"fewest in service {metrics['min_healthy']:g}, downtime {span(metrics['downtime_s'])}, "
            f"outage {span(metrics['outage_s'])}, capacity lost {metrics['capacity_lost_vm_s'] / 3600:.2f} VM-h"
            + (f", on a bad image {bad / 3600:.2f} VM-h" if bad else "")
        )
    failed = f", {instances['failed']} failed" if instances["failed"] else ""
    console.print(Text(serving + failed), soft_wrap=True)
    spent = ", ".join(
        f"{words} {span(time[key])}"
        for key, words in (
            ("polls_s", "waiting for operations"),
            ("declared_s", "told sleeps"),
            ("work_s", "clients at work"),
            ("undeclared_s", "waiting without a word"),
            ("run_on_s", "moved by hand, or to the end"),
            ("uncounted_s", "not counted"),
        )
        if time[key]
    )
    console.print(f"virtual time by clock {time['clock']}: {spent or 'none'}", soft_wrap=True)
