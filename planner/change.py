"""What an upgrade changes, what that does to the model and to an instance, and how to put it back.

1. A change touches the *smallest* path of the model, so that data disks and concurrent edits survive a PATCH.
2. Its reverse is pinned before the first mutation: the model's old values, except that an old `latest` is pinned to
   the exact version that most instances booted (a roll back to "latest" would roll forward).
3. *Action* is what is done to an instance to bring it to the target. Default: `upgrade` (manualupgrade); `reimage` for
   `refresh` and for `osProfile` paths, which manualupgrade does not apply (azure-compute-docs, upgrade policy);
   `run-command` for a guest patch.
4. `at_target` says whether an instance is where the change wants it, from what the platform shows; None when it does
   not show enough, and the operation's own result decides.
5. A change that holds, or reaches, what is kept out of every file (`secret.py`) is refused.
"""

from __future__ import annotations

from collections import Counter
from enum import Enum
from typing import Any

import msgspec

from planner.errors import InputError
from planner.model import ImageReference, Instance, Model, ScaleSet, runs
from planner.scripts import name_of
from planner.secret import place_of

IMAGE = "properties.virtualMachineProfile.storageProfile.imageReference"
URI = "properties.virtualMachineProfile.storageProfile.osDisk.image.uri"


class Action(str, Enum):
    """What is done to an instance."""

    UPGRADE = "upgrade"
    REIMAGE = "reimage"
    UPGRADE_THEN_REIMAGE = "upgrade-then-reimage"
    RESTART = "restart"
    RUN_COMMAND = "run-command"


class _Change(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind"
):
    """Base of the tagged union."""


class ImageChange(_Change, frozen=True, tag="image"):
    """Another platform image; parts that are not given stay as the model has them."""

    version: str | None = None
    sku: str | None = None
    offer: str | None = None
    publisher: str | None = None


class ImageIdChange(_Change, frozen=True, tag="image-id"):
    """Another managed image or gallery version, by resource id."""

    id: str


class ImageUriChange(_Change, frozen=True, tag="image-uri"):
    """Another custom VHD, by uri (unmanaged disks; retired in Microsoft's clouds on 2026-03-31)."""

    uri: str


class PropertyChange(_Change, frozen=True, tag="property"):
    """Any other model property: `path` in wire form, `value` as JSON."""

    path: str
    value: Any


class GuestPatch(_Change, frozen=True, tag="guest-patch"):
    """Run `script` inside each VM as a managed run-command; `undo` takes it back."""

    script: str
    undo: str | None = None


class CurrentModel(_Change, frozen=True, tag="current-model"):
    """The model was changed elsewhere: touch no model, bring stale instances up."""


class Refresh(_Change, frozen=True, tag="refresh"):
    """A set whose model says `latest`: bring instances to `exact_version`, resolved when the plan is made."""

    exact_version: str


Change = ImageChange | ImageIdChange | ImageUriChange | PropertyChange | GuestPatch | CurrentModel | Refresh


class Target(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where an instance should be: the image it boots, the latest model applied, a run-command done."""

    image: ImageReference | None = None
    latest_model: bool = False
    run_command: str | None = None


class Resolved(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A change worked out against a set: model patches (wire path to value) forward and back, images, targets, losses."""

    change: Change
    action: Action
    patch: dict[str, Any]
    reverse: dict[str, Any]
    target: Target
    model_image: ImageReference | None = None
    back_image: ImageReference | None = None
    loses: tuple[str, ...] = ()


LOSES: dict[Action, tuple[str, ...]] = {
    # azure-compute-docs, reimage: the OS disk is replaced, data disks are kept, the temporary disk is not carried over.
    Action.UPGRADE: (),
    Action.REIMAGE: ("OS disk", "temporary disk"),
    Action.UPGRADE_THEN_REIMAGE: ("OS disk", "temporary disk"),
    Action.RESTART: (),
    Action.RUN_COMMAND: (),
}

STAGES: dict[Action, tuple[Action, ...]] = {
    Action.UPGRADE: (Action.UPGRADE,),
    Action.REIMAGE: (Action.REIMAGE,),
    Action.UPGRADE_THEN_REIMAGE: (Action.UPGRADE, Action.REIMAGE),
    Action.RESTART: (Action.RESTART,),
    Action.RUN_COMMAND: (Action.RUN_COMMAND,),
}


def default_action(change: Change) -> Action:
    """Rule 3."""
    if isinstance(change, GuestPatch):
        return Action.RUN_COMMAND
    if isinstance(change, Refresh):
        return Action.REIMAGE
    if isinstance(change, PropertyChange) and ".osprofile." in f".{change.path.lower()}.":
        return Action.UPGRADE_THEN_REIMAGE
    return Action.UPGRADE


def describe(change: Change) -> str:
    """One phrase for people."""
    match change:
        case ImageChange():
            parts = [
                f"{name} {value}"
                for name in ("publisher", "offer", "sku", "version")
                if (value := getattr(change, name))
            ]
            return "image " + ", ".join(parts)
        case ImageIdChange():
            return f"image {change.id}"
        case ImageUriChange():
            return f"image {change.uri}"
        case PropertyChange():
            return f"{change.path} = {msgspec.json.encode(change.value).decode()}"
        case GuestPatch():
            return "guest patch (managed run-command)"
        case CurrentModel():
            return "the model as it is"
        case Refresh():
            return f"refresh to exact version {change.exact_version}"


def resolve(change: Change, scale_set: ScaleSet, action: Action | None = None) -> Resolved:
    """Work a change out against a set. Raises InputError where change, action and set do not fit together."""
    chosen = action or default_action(change)
    _check_action(change, chosen)
    model = scale_set.model
    _refuse_secret(change, model)
    match change:
        case ImageChange():
            return _image(change, chosen, scale_set)
        case ImageIdChange():
            return _other_image(change, chosen, scale_set, {f"{IMAGE}.id": change.id}, ImageReference(id=change.id))
        case ImageUriChange():
            return _other_image(change, chosen, scale_set, {URI: change.uri}, ImageReference(uri=change.uri))
        case PropertyChange():
            if change.path not in model.settings:
                raise InputError(
                    "the present value of this model path is not known, so the change could not be reversed",
                    "change",
                    change.path,
                    f"one of {sorted(model.settings)}" if model.settings else "",
                    "read the snapshot with this path watched",
                )
            return Resolved(
                change=change,
                action=chosen,
                patch={change.path: change.value},
                reverse={change.path: model.settings[change.path]},
                # latestModelApplied is set by an upgrade only; after a restart or reimage its own result decides
                target=Target(latest_model=Action.UPGRADE in STAGES[chosen]),
                model_image=model.image,
                back_image=model.image,
                loses=_loses(chosen, image=False),
            )
        case GuestPatch():
            return Resolved(
                change=change,
                action=chosen,
                patch={},
                reverse={},
                target=Target(run_command=name_of(change.script)),
                model_image=model.image,
                back_image=model.image,
                loses=_loses(chosen, image=False),
            )
        case CurrentModel():
            image = model.image if model.image and _pinned(model.image) else None
            back = pinned_image(scale_set)
            return Resolved(
                change=change,
                action=chosen,
                patch={},
                reverse={},
                target=Target()
                if chosen is Action.RESTART
                else Target(image=image, latest_model=chosen is not Action.REIMAGE),
                model_image=model.image,
                back_image=back,
                loses=_loses(chosen, image=True),
            )
        case Refresh():
            if model.image is None or model.image.publisher is None:
                raise InputError(
                    "refresh needs a platform image", "change", str(model.image), "a model with publisher, offer, sku"
                )
            image = msgspec.structs.replace(model.image, exact_version=change.exact_version)
            return Resolved(
                change=change,
                action=chosen,
                patch={},
                reverse={},
                target=Target(image=image),
                model_image=model.image,
                back_image=pinned_image(scale_set),
                loses=_loses(chosen, image=True),
            )


def _pinned(image: ImageReference) -> bool:
    return bool(image.uri or image.id) or (image.version or "latest").lower() != "latest"


def _loses(action: Action, *, image: bool) -> tuple[str, ...]:
    return LOSES[Action.REIMAGE] if image and action is not Action.RESTART else LOSES[action]


def _check_action(change: Change, action: Action) -> None:
    if isinstance(change, GuestPatch) != (action is Action.RUN_COMMAND):
        raise InputError(
            f"action {action.value} does not fit this change",
            "change",
            describe(change),
            "run-command with a guest patch, and only there",
        )
    if isinstance(change, Refresh) and action is not Action.REIMAGE:
        raise InputError(
            "a refresh is done by reimage (manualupgrade does not move `latest`)", "change", action.value, "reimage"
        )
    if action is Action.RESTART and not isinstance(change, PropertyChange | CurrentModel):
        raise InputError(
            "a restart does not change what a VM boots",
            "change",
            describe(change),
            "a property change, or current-model",
        )


def _refuse_secret(change: Change, model: Model) -> None:
    """Rule 5. The value itself is in no message."""
    expected = "a property that Azure shows, without secrets"
    fix = "change it with what owns the model, then bring the instances up with `current_model`"
    match change:
        case PropertyChange():
            place = place_of(change.path, change.value) or place_of(change.path, model.settings.get(change.path))
        case ImageUriChange():
            place, expected, fix = place_of(URI, change.uri), "an address", "leave the signature out"
        case GuestPatch():
            expected, fix = "a script without secrets", "let it fetch them by the VM's managed identity"
            place = place_of("guest.script", change.script) or place_of("guest.undo", change.undo or "")
        case _:
            return
    if place:
        raise InputError(
            "this is, or may be, a secret: it would stand in the plan, the journal and the log, and could be neither confirmed nor put back",
            "change",
            place,
            expected,
            fix,
        )


def pinned_image(scale_set: ScaleSet) -> ImageReference | None:
    """Rule 2: the model's image, with `latest` pinned to the exact version that most instances booted."""
    image = scale_set.model.image
    if image is None or _pinned(image):
        return image
    counts: Counter[str] = Counter()
    for instance in scale_set.instances.values():
        if instance.image is not None:
            version = instance.image.exact_version or instance.image.version
            if version and version.lower() != "latest":
                counts[version] += 1
    if not counts:
        return image
    version = max(counts, key=lambda v: (counts[v], v))
    return msgspec.structs.replace(image, version=version, exact_version=None)


def _image(change: ImageChange, action: Action, scale_set: ScaleSet) -> Resolved:
    image = scale_set.model.image
    given = {
        name: value for name in ("publisher", "offer", "sku", "version") if (value := getattr(change, name)) is not None
    }
    if not given:
        raise InputError("an image change says what to change", "change", "nothing", "version, sku, offer or publisher")
    if image is None or image.publisher is None:
        raise InputError("the set does not run a platform image", "change", str(image), "image id or uri")
    if "version" not in given and {"sku", "offer", "publisher"} & given.keys():
        # Another sku at the old sku's version number does not exist; only a named version can be confirmed on a VM.
        raise InputError(
            "another image needs its version named",
            "change.version",
            "nothing",
            "an exact version such as 22.04.202604160",
        )
    if given.get("version", "").lower() == "latest":
        raise InputError(
            "`latest` cannot be confirmed on a VM nor rolled back",
            "change.version",
            "latest",
            "an exact version",
            "name one (az vm image list --all), or use refresh with the exact version",
        )
    target = msgspec.structs.replace(image, exact_version=None, **given)
    back = pinned_image(scale_set)
    reverse = {f"{IMAGE}.{name}": getattr(back, name) for name in given}
    return Resolved(
        change=change,
        action=action,
        patch={f"{IMAGE}.{name}": value for name, value in given.items()},
        reverse=reverse,
        target=Target(image=target, latest_model=action is not Action.REIMAGE),
        model_image=target,
        back_image=back,
        loses=_loses(action, image=True),
    )


def _other_image(
    change: Change, action: Action, scale_set: ScaleSet, patch: dict[str, Any], target: ImageReference
) -> Resolved:
    old = scale_set.model.image
    kind = "uri" if target.uri else "id"
    if old is None or getattr(old, kind) is None:
        raise InputError(
            f"the set does not run an image given by {kind}", "change", str(old), "a change of the kind the model has"
        )
    return Resolved(
        change=change,
        action=action,
        patch=patch,
        reverse=dict.fromkeys(patch, getattr(old, kind)),
        target=Target(image=target, latest_model=action is not Action.REIMAGE),
        model_image=target,
        back_image=old,
        loses=_loses(action, image=True),
    )


def at_target(instance: Instance, target: Target) -> bool | None:
    """Rule 4. A flag that says no is a no; an image that differs is a no; what is not said is None."""
    if target.run_command is not None:
        return target.run_command in instance.run_commands
    verdict: bool | None = None
    if target.image is not None:
        verdict = runs(instance.image, target.image)
        if verdict is False:
            return False
    if target.latest_model:
        if instance.latest_model is False:
            return False
        if instance.latest_model is True:
            return True
        return None
    return verdict
