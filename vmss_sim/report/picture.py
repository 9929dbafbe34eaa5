"""The picture in the README: `python -m vmss_sim.report.picture docs/compare.svg` draws what `compare` prints.

Rich exports its own console as SVG; the fonts it would load from the web are left out, so that the file stands alone.
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console

from scenarios import build, files
from vmss_sim.report.comparison import render
from vmss_sim.report.console import write_file
from vmss_sim.study.compare import compare
from vmss_sim.study.recommend import recommend

_WEB_FONT = re.compile(r"@font-face\s*\{[^}]*\}\s*", re.DOTALL)


def draw(scenario: str = "seed-article", replications: int = 200) -> str:
    """The SVG text: the same for the same scenario on every machine."""
    study = compare(build.read(files.find_scenario(scenario)), seed=1, replications=replications, jobs=1)
    console = Console(
        record=True, width=122, file=io.StringIO(), force_terminal=True, color_system="truecolor", highlight=False
    )
    render(console, study, recommend(study), {}, assumptions=False)
    svg = console.export_svg(title=f"vmss-sim compare {scenario}", unique_id="compare")
    return _WEB_FONT.sub("", svg).replace("Fira Code", "ui-monospace, Menlo, Consolas, DejaVu Sans Mono")


if __name__ == "__main__":
    write_file(Path(sys.argv[1]), draw().encode())
