"""Logging in without a network: what clients read before their first request, and that nothing of it is kept."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from vmss_sim.arm import identity
from vmss_sim.arm.http import Request, Response

TENANT = "00000000-0000-0000-0000-0000000000aa"
BASE = "https://localhost:8443"
NOW = 1_800_000_000.0


def _ask(method: str, path: str, body: bytes = b"", **more: Any) -> Response | None:
    return identity.answer(Request(method=method, path=path, body=body, base=BASE, **more), TENANT, lambda: NOW)


def _body(response: Response | None) -> dict[str, Any]:
    assert response is not None
    assert response.status == 200
    assert isinstance(response.body, dict)
    return response.body


def _claims(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


@pytest.mark.parametrize("version", ["2019-05-01", "2020-06-01", "2022-09-01", "2023-12-01"])
def test_the_metadata_are_an_object_that_names_us(version: str) -> None:
    found = _body(_ask("GET", "/metadata/endpoints", query={"api-version": version}))
    assert found["resourceManager"] == f"{BASE}/"
    assert found["authentication"]["loginEndpoint"] == f"{BASE}/"
    assert BASE in found["authentication"]["audiences"]
    for name in ("graphAudience", "microsoftGraphResourceId", "gallery", "batch", "media", "portal", "vmImageAliasDoc"):
        assert found[name]
    assert set(found["suffixes"]) >= {"storage", "keyVaultDns", "acrLoginServer", "sqlServerHostname"}


@pytest.mark.parametrize("version", ["2015-01-01", "2018-05-01"])
def test_old_metadata_have_a_shape_of_their_own(version: str) -> None:
    found = _body(_ask("GET", "/metadata/endpoints", query={"api-version": version}))
    assert set(found) == {"galleryEndpoint", "graphEndpoint", "portalEndpoint", "authentication"}


@pytest.mark.parametrize("tenant", [TENANT, "common", "organizations", "contoso.invalid"])
@pytest.mark.parametrize("way", ["/v2.0", ""])
def test_discovery_leads_to_a_token(tenant: str, way: str) -> None:
    found = _body(_ask("GET", f"/{tenant}{way}/.well-known/openid-configuration"))
    assert found["token_endpoint"].startswith(BASE)
    keys = _body(_ask("GET", found["jwks_uri"].removeprefix(BASE)))
    assert keys == {"keys": []}
    made = _body(
        _ask("POST", found["token_endpoint"].removeprefix(BASE), b"grant_type=client_credentials&client_id=c&scope=x")
    )
    assert made["token_type"] == "Bearer"
    claims = _claims(made["access_token"])
    assert claims["exp"] == int(NOW) + identity.LIFETIME_S
    assert claims["tid"] == (TENANT if tenant in ("common", "organizations") else tenant)
    if way:
        assert made["expires_in"] == identity.LIFETIME_S
    else:
        assert made["expires_on"] == str(int(NOW) + identity.LIFETIME_S)


def test_instance_discovery_knows_this_host() -> None:
    found = _body(
        _ask("GET", "/common/discovery/instance", query={"authorization_endpoint": f"{BASE}/x/oauth2/authorize"})
    )
    assert found["metadata"][0]["aliases"] == ["localhost:8443"]
    assert found["tenant_discovery_endpoint"].startswith(BASE)


def test_a_user_gets_an_id_token_and_a_refresh_token() -> None:
    body = (
        b"grant_type=password&username=u&password=p&scope=https%3A%2F%2Fx%2F.default+openid+offline_access&client_id=c"
    )
    made = _body(_ask("POST", f"/{TENANT}/oauth2/v2.0/token", body))
    assert _claims(made["access_token"])["aud"] == "https://x"
    assert _claims(made["id_token"])["aud"] == "c"
    assert made["refresh_token"]


def test_a_token_request_without_a_grant_is_refused() -> None:
    answer = _ask("POST", f"/{TENANT}/oauth2/token", b"nonsense")
    assert answer is not None
    assert (answer.status, answer.body["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("path", "header"),
    [("/msi/token", ("x-identity-header", "x")), ("/metadata/identity/oauth2/token", ("metadata", "true"))],
)
def test_a_managed_identity_needs_its_header_and_an_audience(path: str, header: tuple[str, str]) -> None:
    query = {"api-version": "2019-08-01", "resource": f"{BASE}/"}
    made = _body(_ask("GET", path, query=query, headers=dict([header])))
    assert made["resource"] == f"{BASE}/"
    assert _claims(made["access_token"])["tid"] == TENANT
    assert made["expires_on"] == str(int(NOW) + identity.LIFETIME_S)
    for more in ({"query": query}, {"headers": dict([header])}):
        refused = _ask("GET", path, **more)
        assert refused is not None
        assert refused.status == 400


@pytest.mark.parametrize(
    "path", ["/", "/subscriptions", f"/subscriptions/{TENANT}/resourceGroups/x", "/x/oauth2/authorize"]
)
def test_all_else_is_somebody_elses(path: str) -> None:
    assert _ask("GET", path) is None
