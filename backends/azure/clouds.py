"""Which Azure: the clouds, a custom endpoint, and what the environment and the az command line say of either.

Rules this module decides:

1. What is given wins over the environment, the environment over the az command line's settings, those over the public cloud.
2. A custom endpoint is HTTPS: a bearer token goes nowhere else. What it does not say (authority, audience) is read from its
   `/metadata/endpoints`, as `az cloud register` does. One of Microsoft's clouds, said by its address, is that cloud.
3. The subscription of a set that is named by group and name: given, `AZURE_SUBSCRIPTION_ID`, the az command line's default.
4. Nothing of a login is read: from az's files only the default subscription's id and the name of its cloud.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from planner.errors import InputError

_SET_ID = re.compile(
    r"/subscriptions/(?P<subscription>[^/]+)/resourceGroups/(?P<group>[^/]+)"
    r"/providers/Microsoft\.Compute/virtualMachineScaleSets/(?P<name>[^/]+)/?",
    re.I,
)


class Cloud(NamedTuple):
    """One of Microsoft's clouds. azure_core: its name in `azure.core.AzureClouds`. authority: where its tokens come from. manager: the host of its Resource Manager."""

    name: str
    az: str
    azure_core: str
    authority: str
    manager: str


CLOUDS = {
    cloud.name: cloud
    for cloud in (
        Cloud("public", "AzureCloud", "AZURE_PUBLIC_CLOUD", "login.microsoftonline.com", "management.azure.com"),
        Cloud(
            "government",
            "AzureUSGovernment",
            "AZURE_US_GOVERNMENT",
            "login.microsoftonline.us",
            "management.usgovcloudapi.net",
        ),
        Cloud("china", "AzureChinaCloud", "AZURE_CHINA_CLOUD", "login.chinacloudapi.cn", "management.chinacloudapi.cn"),
    )
}
"""By the name used here; each is also known by what az and the SDK call it."""


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """Which scale set."""

    subscription: str
    group: str
    name: str

    @property
    def id(self) -> str:
        """The ARM id, as Azure writes it."""
        return (
            f"/subscriptions/{self.subscription}/resourceGroups/{self.group}"
            f"/providers/Microsoft.Compute/virtualMachineScaleSets/{self.name}"
        )


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where Azure Resource Manager is. cloud: None for a custom endpoint. authority, audience: None where they are to be asked for."""

    endpoint: str | None
    cloud: Cloud | None
    authority: str | None
    audience: str | None
    ca: str | None

    @property
    def name(self) -> str:
        """As a snapshot tells it (`planner.model.Cloud`)."""
        return self.cloud.name if self.cloud is not None else "endpoint"


def scope_of(scale_set_id: str) -> Scope:
    """The parts of a scale set's ARM id. Raises InputError where it is none."""
    match = _SET_ID.fullmatch(scale_set_id.strip())
    if match is None:
        raise InputError(
            "not the ARM id of a scale set",
            "scale set",
            repr(scale_set_id[:200]),
            "/subscriptions/…/resourceGroups/…/providers/Microsoft.Compute/virtualMachineScaleSets/…",
            "take it with `az vmss show -g GROUP -n NAME --query id -o tsv`",
        )
    return Scope(subscription=match["subscription"], group=match["group"], name=match["name"])


def place(
    *,
    cloud: str | None = None,
    endpoint: str | None = None,
    authority: str | None = None,
    audience: str | None = None,
    ca: Path | str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Place:
    """Rules 1 and 2. Raises InputError for what cannot be."""
    if ca is not None and not Path(ca).is_file():
        raise InputError(
            "the file does not exist", "ca", str(ca), "a PEM file with the endpoint's certificate authority"
        )
    if endpoint is not None and cloud is not None:
        raise InputError("a cloud and an endpoint were given", "endpoint", f"{cloud} and {endpoint}", "one of them")
    if endpoint is not None:
        parts = urlsplit(endpoint)
        if parts.scheme != "https" or not parts.netloc:
            raise InputError(
                "a token is sent over HTTPS only",
                "endpoint",
                repr(endpoint),
                "https://HOST[:PORT]",
                "use its HTTPS port",
            )
        cloud = next(
            (one.name for one in CLOUDS.values() if parts.netloc.lower().removesuffix(":443") == one.manager), None
        )
    if endpoint is not None and cloud is None:
        return Place(
            endpoint=endpoint.rstrip("/"),
            cloud=None,
            authority=authority,
            audience=audience,
            ca=str(ca) if ca else None,
        )
    found = _named(cloud, "cloud") if cloud else _cloud_of(environment)
    told = environment.get("AZURE_AUTHORITY_HOST")
    return Place(
        endpoint=None,
        cloud=found,
        authority=authority or (told if told and not cloud else found.authority),
        audience=audience,
        ca=str(ca) if ca else None,
    )


def _named(name: str, where: str) -> Cloud:
    for cloud in CLOUDS.values():
        if name.lower() in (cloud.name, cloud.az.lower(), cloud.azure_core.lower()):
            return cloud
    raise InputError("unknown cloud", where, repr(name), ", ".join(CLOUDS), "or give its endpoint")


def _cloud_of(environment: Mapping[str, str]) -> Cloud:
    for variable in ("AZURE_SDK_CLOUD_CONF", "AZURE_CLOUD"):
        if environment.get(variable):
            return _named(environment[variable], variable)
    host = (
        urlsplit(environment.get("AZURE_AUTHORITY_HOST", "")).netloc or environment.get("AZURE_AUTHORITY_HOST", "")
    ).lower()
    for cloud in CLOUDS.values():
        if host and host.rstrip("/") == cloud.authority:
            return cloud
    known = {cloud.az.lower(): cloud for cloud in CLOUDS.values()}
    return known.get((_az_default(environment).get("environmentName") or "").lower(), CLOUDS["public"])


def subscription(given: str | None = None, environment: Mapping[str, str] = os.environ) -> str:
    """Rule 3. Raises InputError where nothing says it."""
    found = given or environment.get("AZURE_SUBSCRIPTION_ID") or _az_default(environment).get("id")
    if not found:
        raise InputError(
            "no subscription is known",
            "--subscription",
            "",
            "a subscription id",
            "say --subscription, set AZURE_SUBSCRIPTION_ID, or choose one with `az account set`",
        )
    return found


def _az_default(environment: Mapping[str, str]) -> dict[str, str]:
    """The default subscription in az's profile (rule 4); empty where there is none, or the file is not what it was."""
    folder = environment.get("AZURE_CONFIG_DIR") or str(Path(environment.get("HOME") or Path.home()) / ".azure")
    try:
        profile = msgspec.json.decode((Path(folder) / "azureProfile.json").read_text("utf-8-sig"))
        listed = [one for one in profile["subscriptions"] if one.get("isDefault")]
        return {key: str(listed[0][key]) for key in ("id", "environmentName") if key in listed[0]}
    except (OSError, UnicodeDecodeError, msgspec.DecodeError, LookupError, TypeError, AttributeError):
        return {}
