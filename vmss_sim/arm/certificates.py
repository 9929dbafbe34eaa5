"""The emulator's own certificate authority: made at first use, kept, and trusted only by who is told to.

Contract: `authority` gives the same CA for the same folder for ever, whoever asks first, and however many ask at once. The key never
leaves a file of mode 0600 in a folder of mode 0700. `context` issues a server certificate that lives in memory and for 90 days only.
Keys and certificates are trustme's business.
"""

from __future__ import annotations

import datetime
import os
import ssl
import stat
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import trustme

from planner.errors import InputError

PRIVATE = "ca-private.pem"
"""Key and certificate in one file, so that they are there together or not at all."""
PUBLIC = "ca.pem"
NAMES = ("localhost", "127.0.0.1", "::1")
LIVES = datetime.timedelta(days=90)


class Authority(NamedTuple):
    """A CA. public: the certificate that clients are told to trust."""

    ca: trustme.CA
    public: Path
    created: bool


def home() -> Path:
    """Where the CA is kept unless somebody says otherwise."""
    from platformdirs import user_data_path  # noqa: PLC0415  # only where no folder was given

    return user_data_path("vmss-sim", appauthor=False) / "emulator"


def authority(folder: Path) -> Authority:
    """The CA of a folder, created where there is none. Raises InputError."""
    private, public = folder / PRIVATE, folder / PUBLIC
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        created = not private.exists() and _create(private)
        mode = stat.S_IMODE(private.stat().st_mode)
        if mode & 0o077 and os.name == "posix":
            raise InputError(
                "others may read the key of the emulator's CA", str(private), oct(mode), "0o600", f"chmod 600 {private}"
            )
        pem = private.read_bytes()
        ca = trustme.CA.from_pem(pem, pem)
        if not public.exists() or public.read_bytes() != ca.cert_pem.bytes():
            beside = _written(folder, ca.cert_pem.bytes())
            beside.chmod(0o644)
            beside.replace(public)
    except OSError as error:
        raise InputError(
            "the folder of the emulator's CA cannot be used",
            str(folder),
            error.strerror or str(error),
            "a folder of one's own",
            "--ca-dir names another",
        ) from error
    except ValueError as error:  # not PEM, or not a key and a certificate
        raise InputError(
            "the emulator's CA cannot be read", str(private), str(error), "", f"remove {private}, and it is made anew"
        ) from error
    return Authority(ca, public.absolute(), created)  # it is told to shells, which go elsewhere


def _create(private: Path) -> bool:
    """Make a CA, unless somebody else was faster."""
    made = trustme.CA(organization_name="vmss-sim", organization_unit_name="emulator of Azure scale sets, local only")
    beside = _written(private.parent, made.private_key_pem.bytes() + made.cert_pem.bytes())
    try:
        if sys.platform == "win32":
            beside.rename(private)  # refuses there where the file exists
        else:
            os.link(beside, private)
    except FileExistsError:
        return False
    finally:
        beside.unlink(missing_ok=True)
    return True


def _written(folder: Path, data: bytes) -> Path:
    """A file of nobody else's name, mode 0600."""
    handle, name = tempfile.mkstemp(prefix=".", dir=folder)
    with os.fdopen(handle, "wb") as stream:
        stream.write(data)
    return Path(name)


def context(ca: trustme.CA, names: tuple[str, ...] = NAMES) -> ssl.SSLContext:
    """A server's TLS with a fresh certificate for these names."""
    now = datetime.datetime.now(datetime.UTC)
    leaf = ca.issue_cert(
        *names,
        organization_name="vmss-sim",
        organization_unit_name="emulator",
        not_before=now - datetime.timedelta(days=1),
        not_after=now + LIVES,
    )
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    leaf.configure_cert(made)
    return made
