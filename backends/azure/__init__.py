"""Azure as a backend: the driver's view of a real scale set, by the Azure SDK. The only package that imports `azure`.

Contract: importing this package imports nothing of the SDK (a command line that does not speak to Azure need not wait for it);
`connect` does. Nothing here decides about a rollout, and nothing here repeats a request that changes something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backends.azure.backend import AzureBackend
    from backends.azure.fleet import Fleet


def connect(scale_set_id: str, **options: Any) -> AzureBackend:
    """A backend for the scale set with this ARM id. options: see `backends.azure.connecting.connect`."""
    from backends.azure.connecting import connect as to_azure  # noqa: PLC0415  # the SDK is heavy: only when it is used

    return to_azure(scale_set_id, **options)


def connect_fleet(subscription: str, group: str = "", **options: Any) -> Fleet:
    """All scale sets of a subscription, or of one of its groups. options: see `backends.azure.connecting.reached`."""
    from backends.azure.connecting import connect_fleet as to_azure  # noqa: PLC0415  # as above

    return to_azure(subscription, group, **options)


__all__ = ["connect", "connect_fleet"]
