"""Which document is what: the model, a list of instances, a rollout of the platform, or one that holds everything."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from planner.arm_json.node import AS_GIVEN, Node, found_words
from planner.errors import InputError
from planner.model import Cloud

_WHOLE = {
    key.lower(): key
    for key in ("model", "instances", "instanceView", "rollingUpgrade", "runCommands", "cloud", "gives")
}
"""What a document that holds everything may hold."""
_SET_TYPE = "microsoft.compute/virtualmachinescalesets"
_VM_TYPES = (f"{_SET_TYPE}/virtualmachines", "microsoft.compute/virtualmachines")
_COMPUTE = r"/subscriptions/[^/]+/resourceGroups/(?P<group>[^/]+)/providers/Microsoft\.Compute"
SET_ID = re.compile(
    rf"(?P<set>{_COMPUTE}/virtualMachineScaleSets/(?P<name>[^/]+))(?:/virtualMachines/(?P<instance>[^/]+))?/?", re.I
)
VM_ID = re.compile(rf"{_COMPUTE}/virtualMachines/(?P<instance>[^/]+)/?", re.I)


def _type_of(node: Node) -> str:
    value = node.get("type").value
    return value.lower() if isinstance(value, str) else ""


def id_of(node: Node) -> str:
    """Its ARM id; empty where it has none."""
    value = node.get("id").value
    return value if isinstance(value, str) else ""


def _is_set(node: Node) -> bool:
    if not isinstance(node.value, dict):
        return False
    if _type_of(node):
        return _type_of(node) == _SET_TYPE
    match = SET_ID.fullmatch(id_of(node))
    inner = node.get("properties") if isinstance(node.get("properties").value, dict) else node
    return bool(match and not match["instance"]) or inner.has("upgradePolicy") or inner.has("virtualMachineProfile")


def is_rollout(node: Node) -> bool:
    """Is it `rollingUpgrades/latest`?"""
    if not isinstance(node.value, dict):
        return False
    if _type_of(node):
        return _type_of(node) == f"{_SET_TYPE}/rollingupgrades"
    inner = node.get("properties") if isinstance(node.get("properties").value, dict) else node
    return inner.has("runningStatus") and inner.has("progress")


def inner_rollout(document: Any) -> Any:
    """`rollingUpgrades/latest` in a document that holds everything (a snapshot)."""
    node = Node(document, "")
    return node.get("rollingUpgrade").value if kind_of(node) == "both" else None


def is_instance(node: Node) -> bool:
    """Is it an instance of a scale set, or a VM that may be one?"""
    if not isinstance(node.value, dict) or _is_set(node):
        return False
    if _type_of(node):
        return _type_of(node) in _VM_TYPES
    return node.has("instanceId") or "/virtualmachines/" in id_of(node).lower()


def is_plain_vm(node: Node) -> bool:
    """Is it a VM as `az vm` shows one, and not an instance below a set?"""
    return _type_of(node) == _VM_TYPES[1] or (not _type_of(node) and VM_ID.fullmatch(id_of(node)) is not None)


def list_in(node: Node) -> Node | None:
    """Find the array of a list document: bare, as az prints, or under `value`, as the wire has it."""
    inner = node if isinstance(node.value, list) else node.get("value") if isinstance(node.value, dict) else node
    return inner if isinstance(inner.value, list) else None


def inner_runs(node: Node) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What was carried out in each instance, where one document holds everything (`planner.scripts`)."""
    if kind_of(node) != "both":
        return
    told = node.object("runCommands")
    for name in told.value:
        yield str(name), told.texts(str(name))


def inner_cloud(node: Node) -> Cloud | None:
    """The cloud that the set is in, where one document holds everything."""
    return node.closed("cloud", Cloud) if kind_of(node) == "both" else None


def kind_of(node: Node) -> str:
    """See `looks_like`."""
    listed = list_in(node)
    if listed is not None:
        return "instances" if not listed.value or any(is_instance(item) for item in listed.items()) else ""
    if not isinstance(node.value, dict):
        return ""
    if _is_set(node):
        return "model"
    if is_plain_vm(node):  # `az vm get-instance-view --ids` prints a list of one VM without its brackets
        return "instances"
    return "both" if node.has("model") and {"model", "instances"} <= {str(key).lower() for key in node.value} else ""


def describe(node: Node) -> str:
    """Say what a document that is refused looks like."""
    listed = list_in(node)
    if listed is not None:
        sets = sum(_is_set(item) for item in listed.items())
        return f"a list of {sets} scale set(s)" if sets else f"an array of {len(listed.value)} item(s), no instance"
    if not isinstance(node.value, dict):
        return found_words(node.value)
    error = node.get("error") if isinstance(node.get("error").value, dict) else node
    code = error.get("code").value
    if isinstance(code, str) and (error is not node or node.has("message")):
        return f"an ARM error body, code {code[:80]!r}"
    for told, description in (
        (is_instance(node), "one instance, not a list of them"),
        (bool(_type_of(node)), f"a resource of type {_type_of(node)[:80]!r}"),
        (node.has("vmss"), "the output of `az vmss create`"),
        (node.has("$schema"), "an ARM template"),
        (node.has("statuses"), "an instance view alone"),
    ):
        if told:
            return description
    keys = ", ".join(repr(str(key)[:40]) for key in list(node.value)[:5])
    return f"an object with the keys {keys}" if keys else "an empty object"


def sort_documents(documents: Sequence[tuple[str, Any]]) -> tuple[Node, list[tuple[Node, list[Node]]], Node]:
    """Find the model, the instance lists (document, items), and the set's own instance view where one is given."""
    models: list[Node] = []
    lists: list[tuple[Node, list[Node]]] = []
    set_view = Node({}, "")
    for name, value in documents:
        node = Node(value, name)
        parts = [node]
        if kind_of(node) == "both":
            for key in node.value:
                if str(key).lower() not in _WHOLE:
                    raise InputError(
                        f"unknown key {key!r}",
                        node.where(),
                        "",
                        ", ".join(_WHOLE.values()),
                    )
            set_view = node.object("instanceView")
            parts = [part for part in (node.get("model"), node.get("instances")) if part]
        for part in parts:
            kind = kind_of(part)
            if kind == "model":
                models.append(part)
            elif kind == "instances":
                listed = list_in(part)
                lists.append((part, listed.items() if listed is not None else [part]))
            else:
                raise InputError(
                    "not an ARM scale set",
                    part.where(),
                    describe(part),
                    "a scale set, a list of its instances, or {model, instances}",
                    "take them with `az vmss show` and `az vmss list-instances --expand instanceView`, both `-o json`",
                )
    if len(models) != 1:
        where = ", ".join(model.where() for model in models) or ", ".join(name for name, _ in documents)
        what = "no scale-set model among the documents" if not models else f"{len(models)} scale-set models"
        raise InputError(what, where, "", "exactly one", "add the output of `az vmss show -o json`" * (not models))
    return models[0], lists, set_view


class Identity(msgspec.Struct, frozen=True):
    """By what a set is told from others; `id` is empty where the model has none."""

    name: str
    id: str


def identify(node: Node) -> Identity:
    """Name and ARM id of the model."""
    resource_id = node.text("id") or ""
    match = SET_ID.fullmatch(resource_id)
    if resource_id and (match is None or match["instance"]):
        raise node.get("id").wrong("the ARM id of a scale set")
    name = node.text("name") or (match["name"] if match else None)
    if name is None:
        raise InputError("the scale set has neither a name nor an id", node.where(), "", "at least its name", AS_GIVEN)
    return Identity(name, resource_id.rstrip("/"))
