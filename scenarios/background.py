"""Background failures that were measured elsewhere, by name: mean time to failure and to repair of one machine, with source.

Both are exponential, as in the source's first fit; the machines are not Azure VMs, so each is a way to ask "what if ours
failed like those". The Failure Trace Archive's availability intervals are also fitted by Weibull and lognormal laws with a
much heavier tail (shape 0.48 to 0.55), which the world's failures do not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from planner.errors import InputError
from planner.explain import did_you_mean

_HOUR_MS: Final = 3_600_000
_FTA = "Failure Trace Archive, exponential fit as in OpenDC's failure prefabs"


class Background(msgspec.Struct, frozen=True, kw_only=True):
    """One preset, in hours: mean time to failure and to repair. of: what failed; source: who says so."""

    mttf_h: float
    mttr_h: float
    of: str
    source: str

    @property
    def mttf_ms(self) -> float:
        """Mean time to failure."""
        return self.mttf_h * _HOUR_MS

    @property
    def mttr_s(self) -> float:
        """Mean time to repair."""
        return self.mttr_h * 3600


PRESETS: Final[Mapping[str, Background]] = MappingProxyType(
    {
        "nguyen14": Background(
            mttf_h=2893,
            mttr_h=0.5,
            of="a VM, without ageing",
            source="Nguyen, Kim, Park 2014, doi 10.1155/2014/165316, table 3",
        ),
        "lanl05": Background(mttf_h=1779.99, mttr_h=5.92, of="nodes of the LANL clusters, 1996 to 2005", source=_FTA),
        "ldns04": Background(mttf_h=141.06, mttr_h=8.61, of="DNS servers, 2004", source=_FTA),
        "microsoft99": Background(mttf_h=67.01, mttr_h=16.49, of="desktop computers at Microsoft, 1999", source=_FTA),
        "g5k06": Background(mttf_h=32.41, mttr_h=7.41, of="nodes of Grid'5000, 2005 and 2006", source=_FTA),
        "websites02": Background(mttf_h=11.85, mttr_h=1.18, of="web servers, 2001 and 2002", source=_FTA),
    }
)


def preset(name: str, where: str) -> Background:
    """Find a preset. Raises InputError naming the nearest one."""
    if name not in PRESETS:
        near = did_you_mean(name, PRESETS)
        raise InputError("unknown preset", where, repr(name)[:60], ", ".join(PRESETS), near)
    return PRESETS[name]


def table() -> str:
    """The presets as a Markdown table."""
    lines = ["| name | fails every | is down for | what | source |", "|---|---|---|---|---|"]
    lines += [
        f"| `{name}` | {one.mttf_h:g} h | {one.mttr_h:g} h | {one.of} | {one.source} |" for name, one in PRESETS.items()
    ]
    return "\n".join(lines) + "\n"
