"""The picture of `calibrate --plot`: for each operation, what was seen against what was fitted.

Rules this module decides:

1. Data are a step (the share of operations that took no longer), with a 95 % band around all of it at once (Dvoretzky,
   Kiefer and Wolfowitz, with Massart's constant): `sqrt(ln(2 / 0.05) / 2n)` up and down. Few points, wide band.
2. The fit is a line over it; dashed where there are too few points for a curve, and what was observed stands in for one.
   Where there is no fit, there is no line, and the title says so.
3. Time is logarithmic where the longest is more than 20 times the shortest.
4. matplotlib is asked for only here: it comes with the extra `plot`.
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np

from planner.errors import InputError
from vmss_sim.study.calibrate.calibration import Calibration, Fitted
from vmss_sim.study.calibrate.fits import LEAST, LOGNORMAL, QUANTILES

KINDS = (".svg", ".png")
COLUMNS = 3
WIDE = 20.0
DATA, FIT = "#1f4e79", "#d95f02"
FEW = f"as observed (under {LEAST[LOGNORMAL]})"


def check(path: Path) -> str:
    """The picture's format, by its name. Raises InputError for another, and where matplotlib is not installed."""
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise InputError("no such kind of picture", str(path), repr(path.suffix), " or ".join(KINDS))
    try:
        import matplotlib  # noqa: F401, PLC0415  # heavy, and of an extra
    except ImportError as error:
        raise InputError(
            "matplotlib is not installed", "--plot", "", "", "install the extra `plot`: pip install 'vmss-sim[plot]'"
        ) from error
    return kind.removeprefix(".")


def draw(made: Calibration, kind: str) -> bytes:
    """The picture: svg or png. The same calibration gives the same bytes."""
    import matplotlib  # noqa: PLC0415  # heavy, and of an extra
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    shown = made.timings
    if not shown:
        raise InputError("there is nothing to draw", "--plot", "no operation that succeeded", "at least one")
    columns = min(COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    with matplotlib.rc_context({"svg.hashsalt": "vmss-sim", "font.size": 9}):
        figure = Figure(figsize=(4.2 * columns, 2.9 * rows + 0.5), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
        for axis, one in zip(axes, shown, strict=False):
            _panel(axis, one)
        for axis in axes[len(shown) :]:
            axis.set_axis_off()
        handles, labels = axes[0].get_legend_handles_labels()
        for axis in axes[1 : len(shown)]:  # the first one may have no fit
            for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
                if label not in labels:
                    handles.append(handle)
                    labels.append(label)
        figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
        picture = io.BytesIO()
        figure.savefig(picture, format=kind, dpi=130, metadata={"Date": None} if kind == "svg" else {"Software": None})
    return picture.getvalue()


def _panel(axis: Any, one: Fitted) -> None:
    """One operation on one system."""
    seconds = np.array(one.seconds)
    n = len(seconds)
    low, high = float(seconds[0]), float(seconds[-1])
    logarithmic = low > 0 and high > WIDE * low
    room = (high - low) * 0.08 or max(high * 0.1, 0.5)
    left, right = (low / 1.3, high * 1.3) if logarithmic else (max(0.0, low - room), high + room)
    steps = np.concatenate(([left], seconds, [right]))
    share = np.concatenate(([0.0], np.arange(1, n + 1) / n, [1.0]))
    reach = math.sqrt(math.log(2 / 0.05) / (2 * n))
    axis.fill_between(
        steps,
        np.maximum(share - reach, 0),
        np.minimum(share + reach, 1),
        step="post",
        color=DATA,
        alpha=0.15,
        linewidth=0,
        label="95 % band of the data",
    )
    axis.step(steps, share, where="post", color=DATA, linewidth=1.2, label="data")
    if one.fit is not None:
        at = np.geomspace(left, right, 400) if logarithmic else np.linspace(left, right, 400)
        few = n < LEAST[LOGNORMAL]
        axis.plot(
            at,
            one.fit.timing.cdf(at),
            color=FIT,
            linewidth=1.6,
            linestyle="--" if few else "-",
            label=FEW if few else "fit",
        )
    if logarithmic:
        axis.set_xscale("log")
    axis.set_xlim(left, right)
    axis.set_ylim(0, 1.02)
    axis.set_xlabel("seconds")
    axis.set_ylabel("share that took no longer")
    axis.grid(visible=True, color="0.9", linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    fitted = one.fit.kind if one.fit else "too few" if n < LEAST[QUANTILES] else "no fit"
    axis.set_title(f"{one.operation}, {one.os}: n={n}, {fitted}", fontsize=9, loc="left")
