"""What a scale set's clients read around it: subscriptions, groups, providers, images, quotas; and all other resources as they were put.

Rules this module decides:

1. `answer` is asked where no route of the scale set's own matches; None: nobody knows such a path.
2. Names compare without case and keep the case they were given. A group exists because it was put, or because a set is in it. With a group
   its sets are deleted as by themselves: their instances leave service, and what runs on them ends.
3. A resource of any other type is a document: PUT echoes it with `provisioningState` Succeeded, PATCH merges (RFC 7396), DELETE of what
   is not there is 204. Nothing else happens. Secrets are not kept (`redaction.py` took them out; here their members go, too).
4. What would have an effect in Azure that nobody models here is refused, never echoed: template deployments, and children of a scale set.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from vmss_sim.arm import catalogue, interfaces, lookups, redaction
from vmss_sim.arm.http import Refused, Request, Response
from vmss_sim.arm.merging import NOTHING_OF_ARM, merged
from vmss_sim.arm.paths import Where, take_apart
from vmss_sim.arm.site import Group, Other, Site

SETS = "microsoft.compute/virtualmachinescalesets"
OF_OTHERS = frozenset({"networkinterfaces", "publicipaddresses", "ipconfigurations", "lifecyclehookevents"})
"""What can be listed below a set or an instance; of all but interfaces (`interfaces.py`) here never is any."""
NOT_EMULATED = frozenset({"microsoft.resources/deployments", "microsoft.resources/deploymentstacks"})
INHERITED = frozenset({"microsoft.authorization/locks", "microsoft.authorization/denyassignments"})
"""What holds below where it stands: listed from the scope up, and down unless `atScope()` is asked."""
PERMISSIONS = "microsoft.authorization/permissions"


def answer(request: Request, site: Site) -> Response | None:
    """The answer; None where the path means nothing here. Raises Refused."""
    path = request.path.rstrip("/")
    for pattern, methods, handler in _TABLE:
        found = pattern.fullmatch(path)
        if found is not None and request.method in methods:
            names = {key: value for key, value in found.groupdict().items() if value is not None}
            if "subscription" in names:
                names["subscription"] = site.require_subscription(names["subscription"])
            return handler(request, site, names)
    return _other(request, site, path)


Names = dict[str, str]


def _ok(body: Any, status: int = 200) -> Response:
    return Response(status=status, body=body)


def _list(values: Iterable[Any]) -> Response:
    return _ok({"value": list(values)})


# -- tenants, subscriptions, providers ---------------------------------------------------------------------------------


def _tenants(_request: Request, site: Site, _names: Names) -> Response:
    found = {"id": f"/tenants/{site.tenant}", "tenantId": site.tenant, "displayName": "vmss-sim", "countryCode": "XX"}
    return _list([found | {"tenantCategory": "Home", "defaultDomain": "vmss-sim.invalid", "domains": []}])


def _subscription(site: Site, name: str) -> dict[str, Any]:
    return {
        "id": f"/subscriptions/{name}",
        "subscriptionId": name,
        "tenantId": site.tenant,
        "displayName": "vmss-sim",
        "state": "Enabled",
        "authorizationSource": "RoleBased",
        "managedByTenants": [],
        "subscriptionPolicies": {
            "locationPlacementId": "Public_2014-09-01",
            "quotaId": "PayAsYouGo_2014-09-01",
            "spendingLimit": "Off",
        },
    }


def _subscriptions(_request: Request, site: Site, _names: Names) -> Response:
    return _list(_subscription(site, one) for one in site.subscriptions.values())


def _one_subscription(_request: Request, site: Site, names: Names) -> Response:
    return _ok(_subscription(site, names["subscription"]))


def _locations(_request: Request, site: Site, names: Names) -> Response:
    places = dict.fromkeys([*catalogue.LOCATIONS, *(one.location for one in site.sets)])
    return _list(
        {
            "id": f"/subscriptions/{names['subscription']}/locations/{one}",
            "name": one,
            "type": "Region",
            "displayName": catalogue.LOCATIONS.get(one, one),
            "regionalDisplayName": catalogue.LOCATIONS.get(one, one),
            "metadata": {"regionType": "Physical", "regionCategory": "Recommended"},
        }
        for one in places
    )


def _provider(site: Site, subscription: str, namespace: str) -> dict[str, Any]:
    places = [catalogue.LOCATIONS.get(one, one) for one in dict.fromkeys(one.location for one in site.sets)]
    return {
        "id": f"/subscriptions/{subscription}/providers/{namespace}",
        "namespace": namespace,
        "registrationState": "Registered",
        "registrationPolicy": "RegistrationRequired",
        "resourceTypes": [
            {
                "resourceType": kind,
                "locations": places or list(catalogue.LOCATIONS.values()),
                "apiVersions": list(catalogue.API_VERSIONS),
                "defaultApiVersion": catalogue.API_VERSIONS[0],
                "zoneMappings": [],
                "capabilities": "SupportsTags, SupportsLocation",
            }
            for kind in catalogue.PROVIDERS.get(namespace, ())
        ],
    }


def _providers(_request: Request, site: Site, names: Names) -> Response:
    return _list(_provider(site, names["subscription"], one) for one in catalogue.PROVIDERS)


def _one_provider(_request: Request, site: Site, names: Names) -> Response:
    wanted = names["namespace"].lower()
    known = next((one for one in catalogue.PROVIDERS if one.lower() == wanted), None)
    if known is None:
        raise Refused(404, "InvalidResourceNamespace", f"The resource namespace '{names['namespace']}' is invalid.")
    return _ok(_provider(site, names["subscription"], known))


# -- groups ------------------------------------------------------------------------------------------------------------


def _group(one: Group) -> dict[str, Any]:
    return {
        "id": f"/subscriptions/{one.subscription}/resourceGroups/{one.name}",
        "name": one.name,
        "type": "Microsoft.Resources/resourceGroups",
        "location": one.location,
        "tags": one.tags,
        "properties": {"provisioningState": "Succeeded"},
    }


def _groups(_request: Request, site: Site, names: Names) -> Response:
    return _list(_group(one) for one in site.groups.values() if one.subscription == names["subscription"])


def _one_group(request: Request, site: Site, names: Names) -> Response:
    subscription, name = names["subscription"], names["group"]
    if request.method == "HEAD":
        return Response(status=204 if (subscription.lower(), name.lower()) in site.groups else 404)
    if request.method == "DELETE":
        return _delete_group(site, site.require_group(subscription, name))
    if request.method == "PUT":
        said = _object(request)
        location = said.get("location")
        if not isinstance(location, str) or not location:
            raise Refused(400, "LocationRequired", "The location property is required for this definition.")
        created = (subscription.lower(), name.lower()) not in site.groups
        return _ok(_group(site.add_group(subscription, name, location, _tags(said) or {})), 201 if created else 200)
    group = site.require_group(subscription, name)
    if request.method == "PATCH":
        tags = _tags(_object(request))
        group.tags = group.tags if tags is None else tags
    return _ok(_group(group))


def _delete_group(site: Site, group: Group) -> Response:
    prefix = f"/subscriptions/{group.subscription}/resourceGroups/{group.name}/".lower()
    for one in site.sets:
        if one.id.lower().startswith(prefix) and not one.world.going:
            world = one.world
            faults, world.faults = world.faults, ()  # faults are of clients' requests, and this is none to the set
            world.submit(site.guid("operation"), "delete-set")
            world.faults = faults
    for key in [one for one in site.others if one.startswith(prefix)]:
        del site.others[key]
    del site.groups[group.subscription.lower(), group.name.lower()]
    return Response(status=200)


def _resources(request: Request, site: Site, names: Names) -> Response:
    prefix = f"/subscriptions/{names['subscription']}/".lower()
    if "group" in names:
        site.require_group(names["subscription"], names["group"])
        prefix += f"resourcegroups/{names['group']}/".lower()
    found = [
        {"id": one.id, "name": one.name, "type": "Microsoft.Compute/virtualMachineScaleSets", "location": one.location}
        for one in site.sets
    ]
    found += [
        {key: one.body()[key] for key in ("id", "name", "type", "location", "tags") if key in one.body()}
        for one in site.others.values()
    ]
    wanted = dict(re.findall(r"(\w+) eq '([^']*)'", request.query.get("$filter", "")))
    return _list(
        one
        for one in found
        if one["id"].lower().startswith(prefix)
        and wanted.get("resourceType", one["type"]).lower() == one["type"].lower()
        and wanted.get("name", one["name"]).lower() == one["name"].lower()
        and f"/resourcegroups/{wanted.get('resourceGroup', '')}".lower() in one["id"].lower()
    )


# -- everything else ---------------------------------------------------------------------------------------------------


def _other(request: Request, site: Site, path: str) -> Response | None:
    """Rule 3."""
    where = take_apart(path)
    if where is None:
        return None
    found = re.match(r"/subscriptions/([^/]+)(?:/resourcegroups/([^/]+))?", where.scope, re.IGNORECASE)
    if found is None:
        return None
    subscription = site.require_subscription(found[1])
    kind = where.full_kind.lower()
    if kind.startswith(SETS):
        return _of_a_set(request, site, where, found) if found[2] is not None and found[0] == where.scope else None
    if any(kind.startswith(one) for one in NOT_EMULATED) and request.method != "GET":
        raise Refused(
            400,
            "NotSupported",
            "vmss-sim emulates no template deployments: nothing of the template would be there. PUT the scale set itself.",
        )
    if found[2] is not None:
        site.require_group(subscription, found[2])
    if where.rest:
        return _collection(request, site, where) if request.method == "GET" else None
    return _one_other(request, site, where)


def _of_a_set(request: Request, site: Site, where: Where, group: re.Match[str]) -> Response | None:
    """What other providers have below a set or an instance: lists, and one interface."""
    rest, (above, _, last) = where.rest.lower(), where.name.rpartition("/")
    if request.method != "GET":
        return None
    if rest in OF_OTHERS:
        return _list(interfaces.of_set(site, group[1], group[2], where.name) if rest == interfaces.NAME else ())
    if rest or not where.kind.lower().endswith(f"/{interfaces.NAME}"):
        return None
    found = (one for one in interfaces.of_set(site, group[1], group[2], above) if one["name"].lower() == last.lower())
    if (card := next(found, None)) is None:
        raise _not_found(where)
    return _ok(card)


def _inherited(request: Request, site: Site, where: Where) -> Response:
    here, down = f"{where.scope}/".lower(), "atscope()" not in request.query.get("$filter", "").lower()
    scopes = {key: f"{key.rpartition('/providers/')[0]}/" for key in site.others}
    return _list(
        one.body()
        for key, one in site.others.items()
        if one.kind.lower() == where.full_kind.lower()
        and (here.startswith(scopes[key]) or (down and scopes[key].startswith(here)))
    )


def _collection(request: Request, site: Site, where: Where) -> Response:
    kind, prefix = where.full_kind.lower(), f"{where.scope}/".lower()
    if kind == PERMISSIONS:  # whoever has a token may do everything here
        return _list([{"actions": ["*"], "notActions": [], "dataActions": [], "notDataActions": []}])
    if kind in INHERITED:
        return _inherited(request, site, where)
    above = f"/{where.name}/".lower() if where.name else "/"
    kept = [
        one.body()
        for key, one in site.others.items()
        if one.kind.lower() == kind and key.startswith(prefix) and above in key
    ]
    return _list([*kept, *interfaces.of_group(site, where.scope)] if kind == interfaces.KIND.lower() else kept)


def _one_other(request: Request, site: Site, where: Where) -> Response | None:
    key = request.path.rstrip("/").lower()
    known: Other | None = site.others.get(key)
    match request.method:
        case "PUT":
            said = _stripped(_object(request))
            made = Other(
                id=request.path.rstrip("/"), kind=where.kind, name=where.name.rpartition("/")[2], document=said
            )
            if known is not None:
                made.id, made.kind, made.name = known.id, known.kind, known.name
            made.document["properties"] = {**_properties(said), "provisioningState": "Succeeded"}
            site.others[key] = made
            return _ok(made.body(), 200 if known else 201)
        case "DELETE":
            gone = [one for one in site.others if one == key or one.startswith(f"{key}/")]
            for one in gone:
                del site.others[one]
            return Response(status=200 if known else 204)
        case "GET" | "HEAD" | "PATCH":
            if known is None:
                card = (
                    interfaces.find(site, where.scope, where.name)
                    if where.kind.lower() == interfaces.KIND.lower()
                    else None
                )
                if card is None or request.method == "PATCH":
                    raise _not_found(where)
                return _ok(card)
            if request.method == "PATCH":
                known.document = merged(known.document, _stripped(_object(request)), NOTHING_OF_ARM)
                known.document["properties"] = {**_properties(known.document), "provisioningState": "Succeeded"}
            return _ok(known.body())
    return None


def _not_found(where: Where) -> Refused:
    group = re.search(r"/resourcegroups/([^/]+)", where.scope, re.IGNORECASE)
    about = f" under resource group '{group[1]}'" if group else ""
    return Refused(
        404,
        "ResourceNotFound",
        f"The Resource '{where.kind}/{where.name}'{about} was not found. For more details please go to "
        "https://aka.ms/ARMResourceNotFoundFix",
    )


def _stripped(value: Any) -> Any:
    """Without the members that hold secrets: Azure does not give them back either."""
    if isinstance(value, dict):
        return {key: _stripped(one) for key, one in value.items() if key.lower() not in redaction.NAMES}
    return [_stripped(one) for one in value] if isinstance(value, list) else value


def _properties(said: dict[str, Any]) -> dict[str, Any]:
    found = said.get("properties")
    return found if isinstance(found, dict) else {}


def _tags(said: dict[str, Any]) -> dict[str, str] | None:
    found = said.get("tags")
    return {key: str(value) for key, value in found.items()} if isinstance(found, dict) else None


def _object(request: Request) -> dict[str, Any]:
    """The body, an object. Raises Refused."""
    try:
        found = msgspec.json.decode(request.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(
            400,
            "InvalidRequestContent",
            f"The request content was invalid and could not be deserialized: '{error}'.",
        ) from error
    if not isinstance(found, dict):
        raise Refused(400, "InvalidRequestContent", "The request content is not a valid JSON object.")
    return found


Handler = Callable[[Request, Site, Names], Response]
_READ = ("GET",)
_SUB = "/subscriptions/(?P<subscription>[^/]+)"
_PLACE = _SUB + "/providers/microsoft.compute/locations/(?P<location>[^/]+)"
_IMAGES = (
    _PLACE + "/publishers",
    _PLACE + "/publishers/(?P<publisher>[^/]+)/artifacttypes/vmimage/offers",
    _PLACE + "/publishers/(?P<publisher>[^/]+)/artifacttypes/vmimage/offers/(?P<offer>[^/]+)/skus",
    _PLACE
    + "/publishers/(?P<publisher>[^/]+)/artifacttypes/vmimage/offers/(?P<offer>[^/]+)/skus/(?P<sku>[^/]+)/versions"
    + "(?:/(?P<version>[^/]+))?",
)
_TABLE: tuple[tuple[re.Pattern[str], tuple[str, ...], Handler], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), methods, handler)
    for pattern, methods, handler in (
        ("/tenants", _READ, _tenants),
        ("/subscriptions", _READ, _subscriptions),
        (_SUB, _READ, _one_subscription),
        (_SUB + "/locations", _READ, _locations),
        (_SUB + "/providers", _READ, _providers),
        (_SUB + "/providers/(?P<namespace>[^/]+)", _READ, _one_provider),
        (_SUB + "/providers/(?P<namespace>[^/]+)/register", ("POST",), _one_provider),
        (_SUB + "/resources", _READ, _resources),
        (_SUB + "/resourcegroups", _READ, _groups),
        (_SUB + "/resourcegroups/(?P<group>[^/]+)", ("GET", "HEAD", "PUT", "PATCH", "DELETE"), _one_group),
        (_SUB + "/resourcegroups/(?P<group>[^/]+)/resources", _READ, _resources),
        *((path, _READ, lookups.images) for path in _IMAGES),
        (_PLACE + "/usages", _READ, lookups.usages),
        (_PLACE + "/vmsizes", _READ, lookups.sizes),
        (_SUB + "/providers/microsoft.compute/skus", _READ, lookups.resource_skus),
    )
)
