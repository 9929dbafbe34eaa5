"""Where output goes: results to stdout, progress and asides to stderr. Colours and width as the terminal says."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from planner.errors import InputError

Progress = Callable[[int, int], None]


class _Piped(Console):
    """A console whose reader may go away (head, less): that is for the front door to end quietly, not an exit with 1."""

    def on_broken_pipe(self) -> None:
        """Raise it again: rich would exit with 1."""
        raise BrokenPipeError


def out() -> Console:
    """Results. Without a terminal 120 columns, so that a log keeps its shape."""
    console = _Piped(highlight=False, soft_wrap=False)
    return console if console.is_terminal else _Piped(highlight=False, width=120)


def err() -> Console:
    """Progress and asides."""
    return Console(stderr=True, highlight=False)


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: beside it first, then in its place. Raises InputError where that is not possible.

    What exists and is no ordinary file (a device, a pipe) is written to as it is; a link is followed.
    """
    special = path.exists() and not path.is_file()  # asked before a link is followed: /dev/stdout leads to no path
    if not special:
        path = path.resolve()
    beside = None if special else path.with_name(f".{path.name}.part")
    try:
        if beside is None:
            path.write_bytes(data)
            return
        beside.write_bytes(data)
        beside.replace(path)
    except OSError as error:
        if beside is not None:
            beside.unlink(missing_ok=True)
        raise InputError(
            "the file cannot be written", str(path), error.strerror or str(error), "a path in a folder that exists"
        ) from error


def folded(text: str, width: int) -> list[str]:
    """Text in lines of that width, broken between words only: an id or a path stays whole, and may be longer."""
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def plain(text: str) -> str:
    """Without what moves a cursor, rings a bell or colours: words may come from Azure, or from a plan."""
    return "".join(one if one.isprintable() else " " for one in text)


def table(*columns: str, title: str | None = None) -> Table:
    """A plain table; the first column is text, the others are numbers where they look like it."""
    made = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for column in columns:
        made.add_column(column)
    return made


@contextmanager
def progress(says: str) -> Iterator[Progress]:
    """A progress bar on stderr; silent where stderr is not a terminal."""
    console = err()
    if not console.is_terminal:
        yield lambda _done, _total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415
    from rich.progress import Progress as Bar  # noqa: PLC0415  # only where there is somebody to look at it

    with Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task(says, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
