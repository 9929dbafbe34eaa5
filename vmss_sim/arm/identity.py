"""What stands in for Microsoft Entra ID, its metadata and managed identities: enough that clients log in without a network.

Rules this module decides:

1. Nobody is checked: every user, secret, certificate and managed identity gets a token, and the endpoint takes any. It is a local
   emulator, bound to loopback; who may not ask is decided there.
2. A token has a JWT's form and no signature. Clients read `tid` and `exp` out of it, nobody verifies it; it is never kept or logged.
3. `/metadata/endpoints` is an object that names us for everything that a scale set's client asks for; api-versions before 2019 have a
   shape of their own. What it names beside us does not exist, and says so (`.invalid`).
4. A managed identity is asked for as App Service does (`X-IDENTITY-HEADER`) or as a VM does (`Metadata: true`); without that header it
   is refused, as there.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from vmss_sim.arm.http import Request, Response

LIFETIME_S = 86_400
PRINCIPAL = "00000000-0000-0000-0000-0000000000b0"
CLIENT = "00000000-0000-0000-0000-0000000000c0"
IDENTITY_HEADER = "vmss-sim"
"""What `IDENTITY_HEADER` is set to in the environment; any value is accepted."""
_NONE = "https://not-emulated.invalid/"


def answer(request: Request, tenant: str, now_s: Callable[[], float] = time.time) -> Response | None:
    """The answer to a request about identity; None where it is about something else."""
    path = request.path.rstrip("/").lower()
    for pattern, method, handler in _TABLE:
        found = pattern.fullmatch(path)
        if found is not None and request.method in method:
            named = found.groupdict().get("tenant") or tenant
            return handler(request, tenant if named in ("common", "organizations", "consumers") else named, now_s)
    return None


def _endpoints(request: Request, tenant: str, _now: Callable[[], float]) -> Response:
    base = request.base + "/"
    login: dict[str, Any] = {"loginEndpoint": base, "audiences": [base, base.rstrip("/")], "tenant": tenant}
    login["identityProvider"] = "AAD"
    if request.version and request.version < "2019":
        return Response(
            status=200,
            body={
                "galleryEndpoint": _NONE,
                "graphEndpoint": _NONE,
                "portalEndpoint": _NONE,
                "authentication": {key: login[key] for key in ("loginEndpoint", "audiences")},
            },
        )
    return Response(
        status=200,
        body={
            "name": "vmss-sim",
            "portal": _NONE,
            "authentication": login,
            "resourceManager": base,
            "graph": _NONE,
            "graphAudience": _NONE,
            "microsoftGraphResourceId": _NONE,
            "gallery": _NONE,
            "media": _NONE,
            "batch": _NONE,
            "sqlManagement": base,
            "vmImageAliasDoc": _NONE,
            "activeDirectoryDataLake": _NONE,
            "logAnalyticsResourceId": _NONE,
            "suffixes": {
                "storage": "storage.not-emulated.invalid",
                "keyVaultDns": "vault.not-emulated.invalid",
                "acrLoginServer": "acr.not-emulated.invalid",
                "sqlServerHostname": "sql.not-emulated.invalid",
                "azureDataLakeStoreFileSystem": "store.not-emulated.invalid",
                "azureDataLakeAnalyticsCatalogAndJob": "jobs.not-emulated.invalid",
            },
        },
    )


def _openid(request: Request, tenant: str, _now: Callable[[], float]) -> Response:
    base = f"{request.base}/{tenant}"
    second = "/v2.0/" in request.path.lower()
    oauth = f"{base}/oauth2/v2.0" if second else f"{base}/oauth2"
    return Response(
        status=200,
        body={
            "issuer": f"{base}/v2.0" if second else f"{base}/",
            "authorization_endpoint": f"{oauth}/authorize",
            "token_endpoint": f"{oauth}/token",
            "device_authorization_endpoint": f"{oauth}/devicecode",
            "end_session_endpoint": f"{oauth}/logout",
            "jwks_uri": f"{base}/discovery/v2.0/keys" if second else f"{base}/discovery/keys",
            "response_modes_supported": ["query", "fragment", "form_post"],
            "response_types_supported": ["code", "id_token", "code id_token"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
            "tenant_region_scope": None,
        },
    )


def _instances(request: Request, tenant: str, _now: Callable[[], float]) -> Response:
    host = request.base.partition("://")[2]
    return Response(
        status=200,
        body={
            "tenant_discovery_endpoint": f"{request.base}/{tenant}/v2.0/.well-known/openid-configuration",
            "api-version": "1.1",
            "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
        },
    )


def _keys(_request: Request, _tenant: str, _now: Callable[[], float]) -> Response:
    return Response(status=200, body={"keys": []})


def _realm(request: Request, _tenant: str, _now: Callable[[], float]) -> Response:
    host = request.base.partition("://")[2]
    body = {"ver": "1.0", "account_type": "Managed", "cloud_instance_name": host, "cloud_audience_urn": "urn:vmss-sim"}
    return Response(status=200, body=body)


def _token(request: Request, tenant: str, now: Callable[[], float]) -> Response:
    said = dict(parse_qsl(request.body.decode("utf-8", "replace")))
    if not said.get("grant_type"):
        told = "AADSTS900144: The request body must contain the following parameter: 'grant_type'."
        return Response(status=400, body={"error": "invalid_request", "error_description": told})
    scope = said.get("scope", "")
    audience = said.get("resource") or next(
        (one.removesuffix("/.default") for one in scope.split() if "/" in one), request.base
    )
    client = said.get("client_id", CLIENT)
    made = token(tenant, audience, now(), client=client)
    body: dict[str, Any] = {
        "token_type": "Bearer",
        "expires_in": LIFETIME_S,
        "ext_expires_in": LIFETIME_S,
        "access_token": made,
    }
    if "v2.0" not in request.path.lower():
        times = {"expires_in": LIFETIME_S, "expires_on": int(now()) + LIFETIME_S, "not_before": int(now())}
        body |= {key: str(value) for key, value in times.items()} | {"resource": audience}
    if "openid" in scope.split() or said["grant_type"] in ("password", "authorization_code"):
        body |= {"scope": scope, "refresh_token": "vmss-sim", "id_token": token(tenant, client, now(), client=client)}
        about = {"uid": PRINCIPAL, "utid": tenant}
        body["client_info"] = _part(about)
    return Response(status=200, body=body)


def _app_service(request: Request, tenant: str, now: Callable[[], float]) -> Response:
    if "x-identity-header" not in request.headers:
        return _refused("the header X-IDENTITY-HEADER is missing")
    return _managed(request, tenant, now)


def _of_a_vm(request: Request, tenant: str, now: Callable[[], float]) -> Response:
    if request.headers.get("metadata", "").lower() != "true":
        return _refused("Required metadata header not specified")
    return _managed(request, tenant, now)


def _managed(request: Request, tenant: str, now: Callable[[], float]) -> Response:
    resource = request.query.get("resource", "")
    if not resource:
        return _refused("Required audience parameter not specified")
    client = request.query.get("client_id", CLIENT)
    until = int(now()) + LIFETIME_S
    return Response(
        status=200,
        body={
            "access_token": token(tenant, resource, now(), client=client),
            "client_id": client,
            "expires_in": str(LIFETIME_S),
            "expires_on": str(until),
            "not_before": str(int(now())),
            "resource": resource,
            "token_type": "Bearer",
        },
    )


def _refused(says: str) -> Response:
    return Response(status=400, body={"error": "invalid_request", "error_description": says})


def token(tenant: str, audience: str, now_s: float, *, client: str = CLIENT) -> str:
    """Rule 2."""
    claims = {
        "aud": audience,
        "iss": f"https://sts.not-emulated.invalid/{tenant}/",
        "iat": int(now_s),
        "nbf": int(now_s),
        "exp": int(now_s) + LIFETIME_S,
        "appid": client,
        "idtyp": "app",
        "oid": PRINCIPAL,
        "sub": PRINCIPAL,
        "tid": tenant,
        "name": "vmss-sim",
        "preferred_username": "operator@vmss-sim.invalid",
        "upn": "operator@vmss-sim.invalid",
        "ver": "1.0",
    }
    return f"{_part({'alg': 'none', 'typ': 'JWT'})}.{_part(claims)}.bm90LXNpZ25lZA"


def _part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(value)).decode().rstrip("=")


Handler = Callable[[Request, str, Callable[[], float]], Response]
_TENANT = r"/(?P<tenant>[a-z0-9.-]+)"
_TABLE: tuple[tuple[re.Pattern[str], tuple[str, ...], Handler], ...] = tuple(
    (re.compile(pattern), methods, handler)
    for pattern, methods, handler in (
        (r"/metadata/endpoints", ("GET",), _endpoints),
        (r"/metadata/identity/oauth2/token", ("GET",), _of_a_vm),
        (r"/msi/token", ("GET",), _app_service),
        (r"/(?:common/)?discovery/instance", ("GET",), _instances),
        (_TENANT + r"(?:/v2\.0)?/\.well-known/openid-configuration", ("GET",), _openid),
        (_TENANT + r"/discovery(?:/v2\.0)?/keys", ("GET",), _keys),
        (r"/common/userrealm/[^/]+", ("GET",), _realm),
        (_TENANT + r"/oauth2(?:/v2\.0)?/token", ("POST",), _token),
    )
)
