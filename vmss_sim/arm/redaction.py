"""Secrets are taken out of a request at the door: nothing behind it, no trace, no snapshot and no log ever holds one.

Rules this module decides:

1. A *secret* is the value of a member named in `NAMES`, or whose name ends in `password`, in any case and at any depth of a JSON body;
   text, object or list, it is replaced whole, a list item by item (numbers and truth values are no secrets). References into a
   key vault are none. Two equal secrets are replaced by the same text, two others by others (a keyed digest whose key lives in this
   process only), so that a changed password is still a change. The public half of a key pair is none.
2. A SAS signature is a secret wherever it stands in text, and so is the query of a URL where it names one of `QUERY`.
   So is the `value` beside a `name` that is one of these (a run-command's parameters).
3. Of the headers only those in `HEADERS` are kept: a list of what may be seen cannot forget one that may not.
4. A body without any of these names comes out as it went in, byte by byte.
5. What Azure shows again to who may read it, and what is no secret to the endpoint, stays out of files all the same (`for_files`): user data
   (`$expand=userData`), what a script is and the values of its parameters (`runCommands`; of the action `runCommand` nothing is shown again). In traces
   and snapshots the same text stands for them; what stands for one already stays, so that a restored site is the one that the snapshot is of.
   The public `settings` of an extension are what their name says.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator
from typing import Any

import msgspec

from vmss_sim.arm.http import WAITS

NAMES = frozenset(
    {
        "adminpassword",
        "customdata",
        "protectedsettings",
        "protectedparameters",
        "storageaccountkey",
        "runaspassword",
        "password",
        "clientsecret",
        "client_secret",
        "access_token",
        "refresh_token",
        "id_token",
        "assertion",
        "sharedaccesssignature",
        "connectionstring",
        "accesskey",
        "primarykey",
        "secondarykey",
    }
)
SHOWN_AGAIN = frozenset({"userdata", "script"})
"""Rule 5."""
PARAMETERS = "parameters"
QUERY = ("sig", "code", "access_token", "client_secret", "password")
HEADERS = frozenset(
    {
        "accept",
        "accept-encoding",
        "content-length",
        "content-type",
        "host",
        "if-match",
        WAITS,
        "if-none-match",
        "parametersetname",
        "commandname",
        "user-agent",
        "x-ms-client-request-id",
        "x-ms-client-session-id",
        "x-ms-correlation-request-id",
        "x-ms-return-client-request-id",
    }
)
_ANY = re.compile("|".join(sorted(NAMES)).encode(), re.IGNORECASE)
_SAS = re.compile(r"((?:^|[?&;\s])(?:" + "|".join(QUERY) + r")=)[^&;\s\"']+", re.IGNORECASE)
_SAS_BYTES = re.compile(rb"(?:sig|code|token|secret|password)=", re.IGNORECASE)
_NAMED = "|".join(sorted({*SHOWN_AGAIN, PARAMETERS}))
_PRIVATE = re.compile(f'"(?:{_NAMED})"\\s*:'.encode(), re.IGNORECASE)
_PRIVATE_TEXT = re.compile(_NAMED, re.IGNORECASE)
_TOLD = re.compile(r"\(removed [0-9a-f]{12}\)")
_KEY = secrets.token_bytes(32)


def clean_body(body: bytes) -> bytes:
    """A JSON body without its secrets; what is no JSON and names one is dropped whole."""
    if not body or not (_ANY.search(body) or _SAS_BYTES.search(body)):
        return body
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return b"(removed: not JSON, and it names a secret)"
    return msgspec.json.encode(clean(found))


def clean(value: Any) -> Any:
    """A JSON value without its secrets."""
    if isinstance(value, dict):
        named = value.get("name")
        secret = isinstance(named, str) and _is_secret(named)
        return {
            key: _digest(one)
            if (_is_secret(key) or (secret and key.lower() == "value")) and one not in (None, "", {}, [])
            else clean(one)
            for key, one in value.items()
        }
    if isinstance(value, list):
        return [clean(one) for one in value]
    return clean_text(value) if isinstance(value, str) else value


def for_files(data: bytes) -> bytes:
    """JSON as a file may hold it (rule 5)."""
    return msgspec.json.encode(_private(msgspec.json.decode(data))) if _PRIVATE.search(data) else data


def text_for_files(text: str) -> str:
    """The same of what is no JSON: where it names what is private, nothing of it."""
    return "(removed: not JSON, and it names what is private)" if _PRIVATE_TEXT.search(text) else text


def _private(value: Any, name: str = "") -> Any:
    """name: of the member that it is, in lower case, or of which it is an item."""
    if isinstance(value, list):
        return [_private(one, name) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _digest(one) if one and _is_private(key, name) else _private(one, _below(key, one, name))
        for key, one in value.items()
    }


def stand_ins(value: Any, name: str = "") -> Iterator[str]:
    """Of JSON that was in a file: the texts that stand where something private stood, and are shown in its place once it is restored."""
    if isinstance(value, list):
        for one in value:
            yield from stand_ins(one, name)
    elif isinstance(value, dict):
        for key, one in value.items():
            if _is_private(key, name):
                yield from _TOLD.findall(msgspec.json.encode(one).decode())
            else:
                yield from stand_ins(one, _below(key, one, name))


def _is_private(key: str, name: str) -> bool:
    return key.lower() in SHOWN_AGAIN or (name == PARAMETERS and key.lower() == "value")


def _below(key: str, value: Any, name: str) -> str:
    """What the member is called to what is in it: a parameter's own name says nothing."""
    return PARAMETERS if name == PARAMETERS and isinstance(value, dict) else key.lower()


def clean_text(text: str) -> str:
    """Rule 2, of a text or a URL."""
    return _SAS.sub(lambda found: found[1] + "removed", text) if "=" in text else text


def clean_headers(headers: dict[str, str]) -> dict[str, str]:
    """Rule 3."""
    return {name: clean_text(value) for name, value in headers.items() if name in HEADERS}


def _is_secret(name: str) -> bool:
    lower = name.lower()
    return lower in NAMES or lower.endswith("password")


def _stands_for_one(value: Any) -> bool:
    text = value.get("removed") if isinstance(value, dict) and len(value) == 1 else value
    return isinstance(text, str) and _TOLD.fullmatch(text) is not None


def _digest(value: Any) -> Any:
    """What stands for a secret: of the same kind of JSON, so that it is as right or wrong where it stands as the secret was."""
    if isinstance(value, list):
        return [_digest(one) for one in value]
    if _stands_for_one(value):
        return value
    made = hashlib.blake2b(msgspec.json.encode(value, order="deterministic"), key=_KEY, digest_size=6).hexdigest()
    told = f"(removed {made})"
    if isinstance(value, dict):
        return {"removed": told}
    return told if isinstance(value, str) else value
