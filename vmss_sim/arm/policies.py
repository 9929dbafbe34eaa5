"""What a resource says, in the world's values: policies, capacity, the health source, places.

Rules (API; azure-vmss.md 1.2, 2, 3.1, 3.3, 5):

1. What is not said has Azure's default. Numbers and flags may be texts that say them (`"3"`, `"false"`); a value of another type is
   refused with its path, a word that is none likewise.
2. The health source is the application health extension, else the load balancer's probe, else none.
3. Instances stand in the zones in turn, and in each zone in its domains in turn: five update domains (Uniform only), and as many fault
   domains as `platformFaultDomainCount` says.
4. What is new of a set's extensions has publisher, type and version; what is refused is worded as users report it (azure-docs #50180, #15359).
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import msgspec

from vmss_sim.arm.call import refused, wrong_type
from vmss_sim.world import errors
from vmss_sim.world.config import AutoOs, Health, Machine, Repairs, RollingPolicy

Document = dict[str, Any]

PROBE_MS = 10_000
"""How long a load balancer's probe needs to notice: its own settings stand in the load balancer, which nobody asks here."""
DOMAINS = 5
"""Update domains of a Uniform set; also its fault domains where it is not zonal, and the most there may be (DOC-modes, DOC-fd)."""
MOST_FLEXIBLE = 3
"""Fault domains of a Flexible set (DOC-fd)."""


class At:
    """An object of a document, read with types; path: where it stands."""

    def __init__(self, value: Any, path: str) -> None:
        if value is not None and not isinstance(value, dict):
            raise wrong_type(path, value, "System.Object")
        self.value: Document = value or {}
        self.path = path

    def __getitem__(self, key: str) -> At:
        return At(self.value.get(key), f"{self.path}.{key}" if self.path else key)

    def _of(self, key: str) -> tuple[Any, str]:
        return self.value.get(key), f"{self.path}.{key}" if self.path else key

    def number(self, key: str, default: int) -> int:
        """A whole number (rule 1)."""
        value, path = self._of(key)
        if value is None:
            return default
        if isinstance(value, str) and re.fullmatch(r"-?\d{1,9}", value, re.ASCII):
            return int(value)
        if isinstance(value, float) and value.is_integer() and abs(value) < 1e9:
            return int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong_type(path, value, "System.Int32")
        return value

    def flag(self, key: str) -> bool:
        """True or false; false where it is not said."""
        value, path = self._of(key)
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if value is not None and not isinstance(value, bool):
            raise wrong_type(path, value, "System.Boolean")
        return bool(value)

    def word(self, key: str, words: tuple[str, ...], default: str) -> str:
        """A word of a closed vocabulary, in lower case."""
        value, path = self._of(key)
        if value is None:
            return default
        if not isinstance(value, str):
            raise wrong_type(path, value, "System.String")
        if value.lower() not in words:
            raise refused(errors.VALUE_OUT_OF_RANGE, parameter=path.removeprefix("properties."))
        return value.lower()

    def text(self, key: str) -> str:
        """A text; empty where it is not said."""
        value, path = self._of(key)
        if value is not None and not isinstance(value, str):
            raise wrong_type(path, value, "System.String")
        return value or ""

    def span_ms(self, key: str, default: int) -> int:
        """An ISO 8601 duration."""
        value, path = self._of(key)
        if value is None:
            return default
        found = _SPAN.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            raise refused(errors.VALUE_OUT_OF_RANGE, parameter=path.removeprefix("properties."))
        days, hours, minutes, seconds, part = (int(one or 0) for one in found.groups())
        return 1000 * (86_400 * days + 3_600 * hours + 60 * minutes + seconds) + round(1000 * float(f"0.{part}"))


# ARM writes durations with XmlConvert: capitals, no weeks, months or years.
_SPAN = re.compile(
    r"P(?=.)(?:(\d{1,6})D)?(?:T(?=.)(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,9})(?:\.(\d{1,9}))?S)?)?", re.ASCII
)


def _properties(document: Document) -> At:
    return At(document, "")["properties"]


def mode(document: Document) -> str:
    """`upgradePolicy.mode`; Manual where nothing is said (recorded of Flexible sets)."""
    return _properties(document)["upgradePolicy"].word("mode", ("automatic", "manual", "rolling"), "manual")


def rolling(document: Document) -> RollingPolicy:
    """`rollingUpgradePolicy`; Azure's defaults where the set has none."""
    policy = _properties(document)["upgradePolicy"]["rollingUpgradePolicy"]
    usual = RollingPolicy()
    return RollingPolicy(
        max_batch_percent=policy.number("maxBatchInstancePercent", usual.max_batch_percent),
        max_unhealthy_percent=policy.number("maxUnhealthyInstancePercent", usual.max_unhealthy_percent),
        max_unhealthy_upgraded_percent=policy.number(
            "maxUnhealthyUpgradedInstancePercent", usual.max_unhealthy_upgraded_percent
        ),
        pause_ms=policy.span_ms("pauseTimeBetweenBatches", 0),
        cross_zone=policy.flag("enableCrossZoneUpgrade"),
        prioritize_unhealthy=policy.flag("prioritizeUnhealthyInstances"),
        rollback_failed=policy.flag("rollbackFailedInstancesOnPolicyBreach"),
        max_surge=policy.flag("maxSurge"),
    )


def auto_os(document: Document) -> AutoOs:
    """`automaticOSUpgradePolicy`."""
    policy = _properties(document)["upgradePolicy"]["automaticOSUpgradePolicy"]
    return AutoOs(
        enabled=policy.flag("enableAutomaticOSUpgrade"),
        disable_rollback=policy.flag("disableAutomaticRollback"),
        use_rolling_policy=policy.flag("useRollingUpgradePolicy"),
        deferral=policy.flag("osRollingUpgradeDeferral"),
    )


def repairs(document: Document) -> Repairs:
    """`automaticRepairsPolicy`."""
    policy = _properties(document)["automaticRepairsPolicy"]
    return Repairs(
        enabled=policy.flag("enabled"),
        grace_ms=policy.span_ms("gracePeriod", Repairs().grace_ms),
        action=policy.word("repairAction", ("replace", "reimage", "restart"), "replace"),
    )


def capacity(document: Document) -> int:
    """`sku.capacity`."""
    return At(document, "")["sku"].number("capacity", 0)


def health(document: Document) -> Health:
    """The health source: the application health extension, else the load balancer's probe, else none (DOC-health)."""
    profile = _properties(document)["virtualMachineProfile"]
    found = profile["extensionProfile"].value.get("extensions") or []
    for number, each in enumerate(found if isinstance(found, list) else ()):
        path = f"properties.virtualMachineProfile.extensionProfile.extensions[{number}]"
        extension = At(each, path)["properties"]
        if not extension.text("type").lower().startswith("applicationhealth"):
            continue
        rich = extension.text("typeHandlerVersion").startswith("2")
        settings = At(_settings(extension.value.get("settings")), f"{extension.path}.settings")
        protocol = settings.word("protocol", ("http", "https", "tcp"), "http")
        seconds = settings.number("intervalInSeconds", 5) * settings.number("numberOfProbes", 1)
        grace = settings.number("gracePeriod", -1) if rich else -1
        return Health(
            source="rich" if rich else "extension",
            grace_ms=1000 * grace if grace >= 0 else None,
            protocol="tcp" if protocol == "tcp" else "http",
            probe_ms=1000 * max(0, seconds),
        )
    if profile["networkProfile"]["healthProbe"].text("id"):
        return Health(source="probe", probe_ms=PROBE_MS)
    return Health()


def _settings(value: Any) -> Document:
    """The settings of an extension: an object, or a text that says one (recorded); anything else says nothing."""
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            return {}
    return value if isinstance(value, dict) else {}


EXTENSION = ("name", "type", "publisher", "typeHandlerVersion")
"""What an extension cannot be without."""


def require_extensions(name: str, new: Document, old: Document) -> None:
    """The extensions of a set that were not there before are whole, and no two have one name (rule 4). Raises Refused."""
    known, found = _extensions(old), _extensions(new)
    if found == known:
        return
    for each in found:
        if each not in known:
            require_extension(each)
    for label, often in Counter(str(each.get("name", "")).lower() for each in found).items():
        if often > 1:
            spelt = next(each["name"] for each in found if str(each.get("name", "")).lower() == label)
            raise refused(errors.EXTENSION_NAMED_TWICE, name=name, extension=spelt)


def require_extension(extension: Document) -> None:
    """One is whole. Raises Refused."""
    properties = extension.get("properties") or {}
    for each in EXTENSION:
        if not (extension if each == "name" else properties).get(each):
            raise refused(errors.VALUE_OUT_OF_RANGE, target=each, parameter=each)


def _extensions(document: Document) -> list[Document]:
    found = _properties(document)["virtualMachineProfile"]["extensionProfile"].value.get("extensions")
    return found or []


def zones(document: Document) -> tuple[str, ...]:
    """The availability zones."""
    found = document.get("zones") or []
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise wrong_type("zones", found, "System.Collections.Generic.List`1[System.String]")
    return tuple(dict.fromkeys(found))


def places(document: Document, instances: int = 0) -> tuple[Machine, ...]:
    """Where instances of a set may stand, or the places of its first instances: zones and domains in turn (DOC-fd)."""
    flexible = is_flexible(document)
    among = zones(document) or (None,)
    usual = 1 if flexible or among != (None,) else DOMAINS
    domains = _properties(document).number("platformFaultDomainCount", usual)
    if not 1 <= domains <= (MOST_FLEXIBLE if flexible else DOMAINS):
        raise refused(errors.VALUE_OUT_OF_RANGE, parameter="platformFaultDomainCount")
    made = []
    for number in range(instances or len(among) * DOMAINS):
        turn = number // len(among)
        made.append(
            Machine(
                id="",
                vm_id="",
                image=None,
                zone=among[number % len(among)],
                update_domain=None if flexible else turn % DOMAINS,
                fault_domain=turn % domains,
            )
        )
    return tuple(made)


def is_flexible(document: Document) -> bool:
    """`orchestrationMode`."""
    words = ("uniform", "flexible")
    return _properties(document).word("orchestrationMode", words, "uniform") == "flexible"
