"""Azure Blob Storage for the store: its SDK, which is an extra, and what the service says, in our words.

Contract: `InputError` where the store cannot be used (name, right), `PlatformError` where it does not answer now.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from planner.errors import InputError, PlatformError

try:
    from azure.core.exceptions import (
        ClientAuthenticationError,
        HttpResponseError,
        ResourceExistsError,
        ResourceNotFoundError,
        ServiceRequestError,
        ServiceResponseError,
    )
    from azure.storage.blob import BlobClient, BlobLeaseClient, ContainerClient
except ImportError as error:  # pragma: no cover  # the extra is missing
    raise InputError(
        "this store needs an extra", "azblob://", str(error), "azure-storage-blob", "pip install 'vmss-sim[azblob]'"
    ) from error

__all__ = [
    "BlobClient", "BlobLeaseClient", "ContainerClient", "HttpResponseError", "ResourceExistsError", "ResourceNotFoundError", "answers", "created",
]  # fmt: skip


@contextmanager
def answers(name: str) -> Iterator[None]:
    """What the service says, once, in our words."""
    try:
        yield
    except ClientAuthenticationError as error:
        code = str(getattr(error, "error_code", None) or "no valid credential")
        raise InputError(
            "the store does not let you in", name, code, "the role Storage Blob Data Contributor"
        ) from error
    except ResourceNotFoundError as error:
        code = getattr(error, "error_code", None) or "not found"
        raise InputError("the store is not there", name, str(code), "a container that exists") from error
    except HttpResponseError as error:
        if error.status_code == 403:
            raise InputError("the store does not let you in", name, str(getattr(error, "error_code", 403))) from error
        raise PlatformError(
            "StoreRefused", f"{name}: {getattr(error, 'error_code', None) or error.status_code}"
        ) from error
    except (ServiceRequestError, ServiceResponseError) as error:
        raise PlatformError(
            "StoreUnreachable", f"{name} does not answer; look at its name, and at the network"
        ) from error


def created(blob: BlobClient, data: bytes) -> bool:
    """Create a blob that is never written again; False where another stands there. The answer to our own request may have got lost, and the client
    have repeated it: then what stands there is this.
    """
    try:
        blob.upload_blob(data, overwrite=False)
    except ResourceExistsError:
        return bool(blob.download_blob().readall() == data)
    return True
