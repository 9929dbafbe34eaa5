"""Does what the endpoint answers fit Azure's own description of it? Every exchange of a log is held to that.

The log is one JSON object a line, as the server's observer writes it:

    {"at_ms": 61000, "method": "GET", "url": "https://localhost:8443/subscriptions/…?api-version=2024-07-01",
     "request_headers": {"accept": "application/json"}, "request_body": null,
     "status": 200, "headers": {"content-type": "application/json; charset=utf-8"}, "body": {…}}

1. at_ms: virtual time. url: as the client asked, with scheme, host and query. Header names are lower case. Bodies are what their JSON says, null
   where there was none; a request's body that is no JSON is a string.
2. `validate(log)` says what does not fit: Microsoft's own validator (`oav`) against the specification of 2024-07-01, whatever api-version
   was asked for; what is newer, or of a newer version, against the types of 2026-04-01. `described(log)` does the same without Node
   (`openapi.py`): it sees the same kinds of faults, and is what the plain tests use.
3. Known gaps of the specification itself, which real Azure shows too, are `exceptions.ALL`, each with its reason and a sample that needs it.
4. Only answers are judged. What clients send is theirs: `az vmss scale` PUTs half a set.

    python -m tests.contract LOG.jsonl [--without-node]
"""

from __future__ import annotations

from pathlib import Path

from tests.contract.findings import Finding, Report
from tests.contract.judge import described, validate

__all__ = ["Finding", "Path", "Report", "described", "validate"]
