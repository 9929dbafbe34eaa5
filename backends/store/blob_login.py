"""The login of a store in Azure Blob Storage.

Rules this module decides:

1. The credential is made as for Azure Resource Manager (`connecting.py`): by the name that a command says, for the cloud that the host
   belongs to, else the one that the environment and az name; what azure-identity would print by itself stands in the error.
2. The first token is there within `MOST_S` (where a person has to type a code: as long as that is good), or the store is refused in one line:
   the SDK's own retries would try it again and again. One that cannot be renewed later is the SDK's matter: the lease and the journal say what follows.
3. A credential that was said for an endpoint of somebody's own (an emulator) is not one for the store (`Login.of`).
"""

from __future__ import annotations

from typing import Any

from azure.core.exceptions import ClientAuthenticationError

from backends.azure.client import why_no_token
from backends.azure.clouds import CLOUDS, Place, place
from backends.azure.connecting import credential_of
from backends.bounded import within
from backends.store import Login
from planner.errors import InputError

MOST_S = 30.0
BY_PERSON_S = 900.0
BLOBS = {
    "public": "blob.core.windows.net",
    "government": "blob.core.usgovcloudapi.net",
    "china": "blob.core.chinacloudapi.cn",
}
"""By cloud, where its storage accounts are."""


def host_of(account: str, login: Login) -> tuple[str, Place]:
    """The host of an account (or the host itself), and the cloud it is in (rule 1). Raises InputError for a cloud that there is none of."""
    if "." not in account:
        where = place(cloud=login.cloud or None)
        return f"{account}.{BLOBS[where.cloud.name if where.cloud is not None else 'public']}", where
    named = next((name for name, suffix in BLOBS.items() if account.lower().endswith(f".{suffix}")), login.cloud)
    return account, place(cloud=named or None)


def credential_for(where: Place, login: Login) -> Bounded:
    """What the SDK of the store takes. Raises InputError."""
    authority = where.authority or CLOUDS["public"].authority
    made = credential_of(
        login.credential or "default",
        where,
        authority,
        tenant=login.tenant or None,
        client_id=login.client_id or None,
    )
    return Bounded(made, authority, BY_PERSON_S if login.credential == "device-code" else MOST_S)


class Bounded:
    """Rule 2, around any credential."""

    def __init__(self, credential: Any, authority: str, most_s: float) -> None:
        self._credential, self._authority, self.most_s, self._had = credential, authority, most_s, False

    def get_token(self, *scopes: str, **options: Any) -> Any:
        """A token. Raises InputError where there never was one."""
        try:
            found = within(self.most_s, lambda: self._credential.get_token(*scopes, **options))
        except Exception as error:  # of azure-identity, or of what it runs: it is told, or raised, in our words
            late = f" (asked: {self._authority}, and what is set up here)" if isinstance(error, TimeoutError) else ""
            why = why_no_token(f"{error}{late}")
            if self._had:
                raise ClientAuthenticationError(why) from error
            raise InputError(
                "no token for the store could be had", "credential", why, "a login that is valid",
                "log in (`az login`), say --credential, or set AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET",
            ) from error  # fmt: skip
        self._had = True
        return found

    def close(self) -> None:
        """Close its connections."""
        self._credential.close()
