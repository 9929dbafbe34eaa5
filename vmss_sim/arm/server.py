"""The HTTP server in front of an emulator: Starlette's request and response, uvicorn's protocol and loop, in a thread of its own.

Contract: `Server(emulator, …)` binds at once (InputError where it cannot), `start` returns when requests are answered, `stop` when the
last one is. Rules this module decides:

1. It listens on loopback, and on nothing else unless `unsafe_bind` says so.
2. The Host header must name this machine's loopback, or what `unsafe_bind` named: a page in a browser whose name was made to point here
   has another (DNS rebinding): 403. An Origin that is not ours: 403; nobody who calls an ARM API from a script sends one.
3. A body is read to `LARGEST` (what ARM takes, 4 MB; for a snapshot that is restored more), the rest is thrown away and answered by 413.
   A request's head has `HEAD_S` to come, or the connection is cut; its body has `BODY_S`, or it is 408.
4. The emulator is asked in one worker thread, never in the event loop: requests are answered in the order in which they came.
5. Status 0 is no answer: the connection is cut.
6. An error of ours is a 500 in ARM's form; the traceback goes to this process's log, never to the client.
7. What is no HTTP is answered as in front of Azure, before anything of ARM's sees it (`protocol.py`).
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qsl
from weakref import WeakSet

import msgspec
import uvicorn
from starlette.requests import ClientDisconnect
from starlette.requests import Request as Received
from starlette.responses import Response as Sent
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from planner.errors import InputError
from vmss_sim.arm.control import PREFIX, File, Lines
from vmss_sim.arm.http import Refused, Request, Response
from vmss_sim.arm.protocol import HEAD_S, HTML, Protocol, malformed, path_of

LOG = logging.getLogger("vmss_sim.arm")
LARGEST = 4 * 1024 * 1024
LARGEST_SNAPSHOT = 256 * 1024 * 1024
PIECE = 65_536
BODY_S, IDLE_S = 30.0, 75
LOOPBACK = ("127.0.0.1", "::1")
LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]"})

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII | re.I)

Answer = Callable[[Request], Response]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Rule 3, in bytes and seconds; idle_s: how long a connection is kept that nobody uses."""

    largest: int = LARGEST
    largest_snapshot: int = LARGEST_SNAPSHOT
    head_s: float = HEAD_S
    body_s: float = BODY_S
    idle_s: int = IDLE_S


class App:
    """The ASGI application."""

    def __init__(
        self,
        answer: Answer,
        *,
        hosts: frozenset[str] = LOCAL,
        any_address: bool = False,
        limits: Limits | None = None,
    ) -> None:
        self._answer, self._hosts, self._any = answer, hosts, any_address
        self._limits = limits or Limits()
        self._worker = ThreadPoolExecutor(1, "vmss-sim-emulator")
        self.open: dict[tuple[Any, ...], asyncio.Transport] = {}
        self.every: WeakSet[asyncio.Transport] = WeakSet()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        received = Received(scope, receive)
        try:
            made = await self._made(received)
        except ClientDisconnect:
            return
        except Exception:
            LOG.exception("%s %s: internal error", scope["method"], scope["path"])
            made = _sent(
                Refused(500, "InternalServerError", "The server encountered an unexpected error.").response(), ""
            )
        if made is None:
            await self._cut(scope, receive)
        else:
            await made(scope, receive, send)

    async def _made(self, received: Received) -> Sent | None:
        """The answer; None for none."""
        page = malformed(received.scope)
        if page is not None:
            return Sent(page, 400, HTML)
        try:
            self._admit(received)
            body = await self._body(received)
        except Refused as refusal:
            return _sent(refusal.response(), received.method, close=True)
        query = received.scope["query_string"].decode("latin-1")
        request = Request(
            method=received.method,
            path="/"
            + path_of(received.scope).lstrip("/"),  # az joins its base, which ends in a slash, and /metadata/endpoints
            query={name.lower(): value for name, value in parse_qsl(query, keep_blank_values=True)},
            headers=dict(received.headers.items()),
            body=body,
            base=f"{received.scope['scheme']}://{received.headers['host']}",
            port=received.client.port if received.client is not None and received.client.host in LOOPBACK else 0,
        )
        response = await asyncio.get_running_loop().run_in_executor(self._worker, self._answer, request)
        return None if response.status == 0 else _sent(response, received.method)

    def _admit(self, received: Received) -> None:
        """Rule 2. Raises Refused."""
        host = received.headers.get("host", "").lower()
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
        if not (name in self._hosts or (self._any and _is_address(name))):
            raise Refused(
                403,
                "HostNotAllowed",
                f"The Host header is {host[:80]!r}; this emulator answers to {', '.join(sorted(self._hosts))} only.",
            )
        origin = received.headers.get("origin")
        if origin is not None and origin.lower() != f"{received.scope['scheme']}://{host}":
            raise Refused(403, "OriginNotAllowed", f"Requests from the origin {origin[:80]!r} are refused.")

    async def _body(self, received: Received) -> bytes:
        """Rule 3. Raises Refused."""
        restores = received.scope["path"].lower().startswith(f"{PREFIX}/restore")
        most = self._limits.largest_snapshot if restores else self._limits.largest
        declared = received.headers.get("content-length", "")
        expects = received.headers.get("expect", "").lower() == "100-continue"
        too_large = declared.isdecimal() and int(declared) > most
        kept = bytearray()
        if not (too_large and expects):
            try:
                async with asyncio.timeout(self._limits.body_s):
                    async for part in received.stream():
                        too_large = too_large or len(kept) + len(part) > most
                        if too_large:
                            kept.clear()
                        else:
                            kept += part
            except TimeoutError as error:
                raise Refused(408, "RequestTimeout", "The request's body did not come in time.") from error
        if too_large:
            raise Refused(
                413,
                "RequestContentTooLarge",
                f"The request content size exceeds the maximum size of {most // 1024 // 1024} MB.",
            )
        return bytes(kept)

    async def _cut(self, scope: Scope, receive: Receive) -> None:
        """Rule 5."""
        transport = self.open.get((scope.get("client"), scope.get("server")))
        if transport is not None:
            transport.abort()
        while (await receive())["type"] != "http.disconnect":
            pass

    def close(self) -> None:
        """No more requests."""
        self._worker.shutdown()


def require_address(said: str) -> None:
    """What `unsafe_bind` says is an address or a name: the empty string would be every address there is. Raises InputError."""
    if not (said == said.strip("[]") and _is_address(said)) and not _NAME.fullmatch(said):
        raise InputError("not an address", "--unsafe-bind", repr(said), "an address of this machine, or a name for one")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _read(file: File) -> Iterator[bytes]:
    """A file as far as it went when it was asked for: others go on writing to it."""
    left = file.size
    with file.path.open("rb") as stream:
        while left and (part := stream.read(min(left, PIECE))):
            left -= len(part)
            yield part


def _sent(response: Response, method: str, *, close: bool = False) -> Sent:
    headers = {"connection": "close", **response.headers} if close else dict(response.headers)
    body = response.body
    if isinstance(body, File):
        headers["content-length"] = str(body.size)
        return StreamingResponse(_read(body), headers=headers, media_type="application/x-ndjson")
    if isinstance(body, Lines):
        return Sent(body.data, response.status, headers, "application/x-ndjson")
    if body is None:
        made = Sent(b"", response.status, headers)
        return made
    data = msgspec.json.encode(body)
    sent = Sent(data, response.status, headers, "application/json; charset=utf-8")
    if method == "HEAD":
        sent.body = b""
    return sent


class Server:
    """A server in a thread of its own. See above. tls: its context; http: plain HTTP beside it (or alone, where tls is None), on a port
    of its own.
    """

    def __init__(
        self,
        answer: Answer,
        *,
        tls: ssl.SSLContext | None,
        port: int = 0,
        http: bool = False,
        http_port: int = 0,
        unsafe_bind: str | None = None,
        limits: Limits | None = None,
    ) -> None:
        limits = limits or Limits()
        hosts, any_address = LOCAL, False
        if unsafe_bind is not None:
            shown = f"[{unsafe_bind}]" if ":" in unsafe_bind else unsafe_bind.lower()
            any_address = unsafe_bind in ("0.0.0.0", "::")  # what was asked for
            hosts = hosts | {shown} | ({socket.gethostname().lower()} if any_address else frozenset())
        self._app = App(answer, hosts=hosts, any_address=any_address, limits=limits)
        addresses = LOOPBACK if unsafe_bind is None else (unsafe_bind,)
        self._sockets: list[list[socket.socket]] = []
        self._servers: list[uvicorn.Server] = []
        self.url = self.http_url = ""
        name = "localhost" if unsafe_bind is None or any_address else unsafe_bind
        try:
            if tls is not None:
                self.url = f"https://{name}:{self._listen(addresses, port, tls, limits)}"
            if http or tls is None:
                self.http_url = f"http://{name}:{self._listen(addresses, http_port if tls else port, None, limits)}"
        except InputError:
            self._close()
            raise
        self.url = self.url or self.http_url
        self._thread = threading.Thread(target=self._run, name="vmss-sim-server", daemon=True)
        self._ready = threading.Event()

    def _listen(self, addresses: tuple[str, ...], port: int, tls: ssl.SSLContext | None, limits: Limits) -> int:
        made = [_bound(addresses[0], port)]
        port = int(made[0].getsockname()[1])
        for address in addresses[1:]:  # ::1, where this machine has it and nobody else its port
            try:
                made.append(_bound(address, port))
            except InputError:
                continue
        kind = type(
            "Protocol", (Protocol,), {"open": self._app.open, "every": self._app.every, "head_s": limits.head_s}
        )
        config = uvicorn.Config(
            self._app,
            http=kind,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=limits.idle_s,
            timeout_graceful_shutdown=5,
        )
        config.load()
        config.ssl = tls
        self._sockets.append(made)
        self._servers.append(uvicorn.Server(config))
        return port

    def start(self) -> Server:
        """Returns when requests are answered."""
        self._thread.start()
        self._ready.wait()
        return self

    def stop(self) -> None:
        """Returns when the last request is answered."""
        for one in self._servers:
            one.should_exit = True
        if self._thread.is_alive():
            self._thread.join(15)
        self._close()

    def _close(self) -> None:
        self._app.close()
        for one in (each for group in self._sockets for each in group):
            one.close()

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        finally:
            self._ready.set()  # also where it could not: nobody waits for ever

    async def _serve(self) -> None:
        pairs = zip(self._servers, self._sockets, strict=True)
        tasks: list[Awaitable[None]] = [asyncio.ensure_future(one.serve(sockets)) for one, sockets in pairs]
        while not all(one.started for one in self._servers):
            await asyncio.sleep(0.01)
        self._ready.set()
        await asyncio.gather(*tasks)
        for transport in list(self._app.every):  # TLS waits for the client's goodbye, which may never come
            transport.abort()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


def _bound(address: str, port: int) -> socket.socket:
    """A socket that listens. Raises InputError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # Said, not left to 0: asyncio sends at once (TCP_NODELAY) only what it knows for TCP, and each answer would wait 40 ms for an ACK.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((address, port))
        made.set_inheritable(False)
    except (OSError, OverflowError) as error:
        made.close()
        raise InputError(
            "cannot listen there",
            f"{address} port {port}",
            getattr(error, "strerror", None) or str(error),
            "a port that nobody uses",
            "--port 0 takes a free one",
        ) from error
    return made
