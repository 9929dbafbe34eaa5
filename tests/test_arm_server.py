"""The server in front of the emulator, over real sockets of loopback: TLS, who may ask, what is too much, what is no answer."""

from __future__ import annotations

import gc
import os
import socket
import ssl
import stat
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from planner.errors import InputError
from tests.arm_http import Az, code_of, raw
from vmss_sim.arm import certificates
from vmss_sim.arm.control import File
from vmss_sim.arm.http import Request, Response
from vmss_sim.arm.server import Limits, Server
from vmss_sim.checks.emulated import Emulated, emulated


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulated]:
    with emulated("two-vms", http=True, folder=tmp_path_factory.mktemp("ca")) as made:
        yield made


@pytest.fixture
def az(azure: Emulated) -> Az:
    return Az(azure)


# -- certificates ------------------------------------------------------------------------------------------------------


def test_tls_is_verified_by_the_ca_for_every_name_of_loopback(azure: Emulated) -> None:
    port = azure.url.rpartition(":")[2]
    for name in ("localhost", "127.0.0.1", "[::1]"):
        if name == "[::1]" and not _has_ipv6():
            continue
        answer = requests.get(
            f"https://{name}:{port}/metadata/endpoints?api-version=2022-09-01", verify=azure.ca, timeout=10
        )
        assert answer.status_code == 200
        assert answer.json()["resourceManager"] == f"https://{name}:{port}/"
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(f"{azure.url}/metadata/endpoints", timeout=10)


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as made:
            made.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_the_ca_is_made_once_and_its_key_is_nobody_elses(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "ca"
    made: list[certificates.Authority] = []
    threads = [threading.Thread(target=lambda: made.append(certificates.authority(folder))) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len({one.ca.cert_pem.bytes() for one in made}) == 1
    assert certificates.authority(folder).created is False
    private = folder / certificates.PRIVATE
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert b"PRIVATE" not in (folder / certificates.PUBLIC).read_bytes()
    assert sorted(one.name for one in folder.iterdir()) == [certificates.PRIVATE, certificates.PUBLIC]


def test_the_ca_is_told_so_that_it_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert certificates.authority(Path("ca")).public == tmp_path / "ca" / certificates.PUBLIC


def test_a_ca_that_cannot_be_used_is_told_in_a_line(tmp_path: Path) -> None:
    made = certificates.authority(tmp_path / "open")
    (tmp_path / "open" / certificates.PRIVATE).chmod(0o644)
    with pytest.raises(InputError, match="others may read the key"):
        certificates.authority(made.public.parent)
    (tmp_path / "broken").mkdir()
    handle = os.open(tmp_path / "broken" / certificates.PRIVATE, os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(handle, b"nonsense")
    os.close(handle)
    with pytest.raises(InputError, match="cannot be read"):
        certificates.authority(tmp_path / "broken")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be used"):
        certificates.authority(tmp_path / "file" / "below")


# -- who may ask -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example:80", "127.0.0.1.nip.io", "", "[::2]", "0.0.0.0"]
)
def test_another_host_is_refused(azure: Emulated, az: Az, host: str) -> None:
    answer = az.ask("GET", headers={"Host": host})
    assert answer.status_code in (400, 403)
    if host:
        assert code_of(answer) == "HostNotAllowed"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1"])
def test_another_origin_is_refused_and_ours_is_not(azure: Emulated, az: Az, origin: str) -> None:
    refused = az.ask("GET", headers={"Origin": origin})
    assert (refused.status_code, code_of(refused)) == (403, "OriginNotAllowed")
    assert az.ask("GET", headers={"Origin": azure.url}).status_code == 200


def test_arm_wants_a_bearer_token_and_takes_any(azure: Emulated, az: Az) -> None:
    answer = requests.get(f"{azure.url}{azure.id}?api-version=2024-07-01", verify=azure.ca, timeout=10)
    assert (answer.status_code, code_of(answer)) == (401, "AuthenticationFailed")
    assert answer.headers["www-authenticate"].startswith(f'Bearer authorization_uri="{azure.url}/')
    assert az.ask("GET").status_code == 200


@pytest.mark.parametrize("header", ["Basic YTpi", "Bearer", "anything"])
def test_what_is_no_bearer_token_is_refused(az: Az, header: str) -> None:
    answer = az.ask("GET", headers={"Authorization": header})
    assert (answer.status_code, code_of(answer)) == (401, "AuthenticationFailedInvalidHeader")
    assert answer.headers["x-ms-request-id"] == answer.headers["x-ms-correlation-request-id"]


def test_unsafe_bind_answers_to_that_address_too() -> None:
    with Server(lambda _: Response(status=204), tls=None, unsafe_bind="127.0.0.2") as server:
        assert server.url.startswith("http://127.0.0.2:")
        assert requests.get(server.url, timeout=10).status_code == 204
        port = server.url.rpartition(":")[2]
        assert b" 403 " in raw(server.url, f"GET / HTTP/1.1\r\nHost: evil:{port}\r\n\r\n".encode())
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", int(port)), timeout=2)


def test_on_every_interface_any_address_will_do_but_no_foreign_name() -> None:
    with Server(lambda _: Response(status=204), tls=None, unsafe_bind="0.0.0.0") as server:
        for host, status in (("192.0.2.7", b"204"), ("evil.example", b"403"), (socket.gethostname(), b"204")):
            said = raw(server.url, f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            assert said.split()[1] == status, host


def test_a_port_in_use_is_told_in_a_line() -> None:
    with (
        Server(lambda _: Response(status=204), tls=None) as server,
        pytest.raises(InputError, match="cannot listen there"),
    ):
        Server(lambda _: Response(status=204), tls=None, port=int(server.url.rpartition(":")[2]))


# -- what is too much --------------------------------------------------------------------------------------------------


def test_a_body_of_100_mb_is_413_and_never_in_memory(azure: Emulated, az: Az) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 1_000_000

    answer = az.session.put(f"{azure.url}{azure.id}?api-version=2024-07-01", data=chunks(), timeout=60)
    assert (answer.status_code, code_of(answer)) == (413, "RequestContentTooLarge")
    assert "4 MB" in answer.json()["error"]["message"]
    declared = az.session.put(f"{azure.url}{azure.id}?api-version=2024-07-01", data=b"x" * 5_000_000, timeout=60)
    assert declared.status_code == 413
    assert az.ask("GET").status_code == 200


def test_who_expects_to_go_on_is_told_at_once(azure: Emulated) -> None:
    host = azure.http_url.partition("://")[2]
    head = f"PUT / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100000000\r\nExpect: 100-continue\r\n\r\n"
    said = raw(azure.http_url, head.encode(), timeout_s=5)
    assert said.startswith(b"HTTP/1.1 413 ")


@pytest.fixture
def quick() -> Iterator[Server]:
    """A server with little patience, but more than a busy machine takes for a head."""
    limits = Limits(head_s=1, body_s=1, largest=1000)
    with Server(
        lambda request: Response(status=200, body={"size": len(request.body)}), tls=None, limits=limits
    ) as made:
        yield made


def test_a_slow_head_is_cut_off(quick: Server) -> None:
    assert raw(quick.url, b"GET / HTTP/1.1\r\nHost: localhost\r\n") == b""
    assert raw(quick.url, b"") == b""


def test_a_head_that_trickles_is_cut_off_also_on_a_connection_that_was_used(quick: Server) -> None:
    port = int(quick.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as talk:
        talk.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in talk.recv(65_536)
        time.sleep(1.2)  # idle: that is allowed
        with pytest.raises(OSError):
            for byte in b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 1000:
                talk.sendall(bytes([byte]))
                time.sleep(0.02)


def test_a_slow_body_is_408(quick: Server) -> None:
    said = raw(quick.url, b"PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\nonly this")
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"RequestTimeout" in said


def test_a_slow_answer_is_nobodys_fault(quick: Server) -> None:
    def slow(_request: Request) -> Response:
        time.sleep(1.5)
        return Response(status=200, body={})

    with Server(slow, tls=None, limits=Limits(head_s=1, body_s=1)) as server:
        assert requests.get(server.url, timeout=10).status_code == 200


LOCAL = b"Host: localhost\r\n"
NO_HTTP = {
    b"\x00\x01\x02\r\n\r\n": "Invalid Verb",
    b"GET /\r\n\r\n": "Invalid Verb",
    b"GET / SMTP/1.1\r\n" + LOCAL + b"\r\n": "Invalid Verb",
    b"\r\n\r\nG\xc3\x84T / HTTP/1.1\r\n" + LOCAL + b"\r\n": "Invalid Verb",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n": "Invalid Hostname",
    b"GET / HTTP/1.1\r\nAccept: */*\r\n\r\n": "Invalid Hostname",
    b"GET / HTTP/1.1\r\n" + LOCAL + b"a b: c\r\n\r\n": "Invalid Header",
    b"GET / HTTP/1.1\r\n" + LOCAL + b"no colon\r\n\r\n": "Invalid Header",
    b"PUT / HTTP/1.1\r\n" + LOCAL + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n": "Invalid Content Length",
    b"PUT / HTTP/1.1\r\n" + LOCAL + b"Content-Length: -1\r\n\r\n": "Invalid Content Length",
    b"PUT / HTTP/1.1\r\n" + LOCAL + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n": "Invalid Content Length",
    b"PUT / HTTP/1.1\r\n" + LOCAL + b"Transfer-Encoding: gzip\r\n\r\n": "",
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n" + LOCAL + b"\r\n": "Request Too Long",
    b"A" * 200_000: "Request Too Long",
    b"GET x HTTP/1.1\r\n" + LOCAL + b"Connection: close\r\n\r\n": "Invalid URL",
    b"OPTIONS * HTTP/1.1\r\n" + LOCAL + b"\r\n": "Invalid URL",
}
"""What is no HTTP, and the heading of the page that Azure's front door has for it."""


@pytest.mark.parametrize("scheme", ["https", "http"])
@pytest.mark.parametrize(("data", "heading"), NO_HTTP.items())
def test_what_is_no_http_is_refused_by_the_front_door(
    azure: Emulated, scheme: str, data: bytes, heading: str, caplog: pytest.LogCaptureFixture
) -> None:
    said = raw(azure.url if scheme == "https" else azure.http_url, data, ca=azure.ca)
    head, _, page = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    told = dict(line.split(b": ", 1) for line in head.lower().splitlines()[1:])
    assert told[b"content-type"] == b"text/html; charset=us-ascii"
    assert told[b"server"] == b"microsoft-httpapi/2.0"
    assert told[b"connection"] == b"close"
    assert int(told[b"content-length"]) == len(page)
    assert f"<h2>Bad Request{heading and f' - {heading}'}</h2>".encode() in page
    assert b"<hr><p>HTTP Error 400. The" in page
    assert "Traceback" not in caplog.text
    assert "Traceback" not in said.decode("latin-1")


def test_who_takes_it_for_a_proxy_is_answered(azure: Emulated) -> None:
    path = f"{azure.http_url}/metadata/endpoints?api-version=2022-09-01"
    said = raw(azure.http_url, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert said.startswith(b"HTTP/1.1 200 ")


SILENT = {
    "idle": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "refused": b"no HTTP\r\n\r\n",
    "halfway": b"GET / HTTP/1.1\r\n",
    "no handshake": b"",
}


@pytest.mark.parametrize("scheme", ["https", "http"])
@pytest.mark.parametrize("kind", SILENT)
@pytest.mark.parametrize("waits_s", [0.0, 1.5])
def test_who_never_says_goodbye_leaves_nothing_behind(kind: str, scheme: str, waits_s: float, tmp_path: Path) -> None:
    """Over TLS a connection that the server closes waits for the client, and one that is idle in a client's pool reads nothing.
    waits_s: past `idle_s`, the server has closed and waits; before, it has not.
    """
    tls = certificates.context(certificates.authority(tmp_path).ca) if scheme == "https" else None
    server = Server(lambda _: Response(status=204), tls=tls, limits=Limits(idle_s=1)).start()
    with warnings.catch_warnings(record=True) as left, ExitStack() as stack:
        warnings.simplefilter("always")
        client = stack.enter_context(socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))))
        if tls is not None and SILENT[kind]:
            trusted = ssl.create_default_context(cafile=tmp_path / certificates.PUBLIC)
            client = stack.enter_context(trusted.wrap_socket(client, server_hostname="localhost"))
        client.sendall(SILENT[kind])
        if kind in ("idle", "refused"):
            assert client.recv(4096).startswith(b"HTTP/1.1 ")
        time.sleep(waits_s)
        server.stop()
        gc.collect()
    assert [str(one.message) for one in left] == []


# -- answers -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def server_of() -> Iterator[Callable[..., Server]]:
    made: list[Server] = []

    def start(answer: Callable[[Request], Response]) -> Server:
        made.append(Server(answer, tls=None).start())
        return made[-1]

    yield start
    for one in made:
        one.stop()


def test_status_0_is_no_answer_and_the_next_is_served(server_of: Callable[..., Server]) -> None:
    statuses = [0, 200]
    server = server_of(lambda _: Response(status=statuses.pop(0), body={}))
    with pytest.raises(requests.exceptions.ConnectionError):
        requests.post(server.url, timeout=10)
    assert requests.post(server.url, timeout=10).status_code == 200


def test_what_is_written_is_sent_at_once(azure: Emulated) -> None:
    """Else a client that keeps its connection waits 40 ms for each body (Nagle, and an ACK that is delayed)."""
    with requests.Session() as client:
        for url in (azure.url, azure.http_url):
            client.get(f"{url}/metadata/endpoints", params={"api-version": "2022-09-01"}, verify=azure.ca, timeout=10)
        open_now = [one for one in azure.session.server._app.every if not one.is_closing()]
        assert len(open_now) >= 2
        for one in open_now:
            assert one.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_an_error_of_ours_is_500_without_a_traceback(
    server_of: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_request: Request) -> Response:
        raise RuntimeError("the secret inside")

    answer = requests.get(server_of(broken).url, timeout=10)
    assert (answer.status_code, code_of(answer)) == (500, "InternalServerError")
    assert "secret" not in answer.text
    assert "the secret inside" in caplog.text


def test_requests_become_values(server_of: Callable[..., Server]) -> None:
    seen: list[Request] = []

    def keep(request: Request) -> Response:
        seen.append(request)
        return Response(status=200, body={"a": 1}, headers={"etag": '"1"'})

    server = server_of(keep)
    answer = requests.put(
        f"{server.url}/Sub%20scriptions/X?$Filter=a%20eq%20'b'&api-version=1&empty=",
        data=b"{}",
        headers={"If-Match": '"3"'},
        timeout=10,
    )
    (request,) = seen
    assert request.path == "/Sub scriptions/X"
    assert request.query == {"$filter": "a eq 'b'", "api-version": "1", "empty": ""}
    assert request.headers["if-match"] == '"3"'
    assert (request.body, request.base, request.method) == (b"{}", server.url, "PUT")
    assert answer.json() == {"a": 1}
    assert answer.headers["etag"] == '"1"'
    assert "server" not in answer.headers
    head = requests.head(server.url, timeout=10)
    assert head.content == b""


def test_one_after_another_whatever_the_number_of_clients(server_of: Callable[..., Server]) -> None:
    inside: list[int] = []
    most: list[int] = []

    def slow(_request: Request) -> Response:
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.02)
        inside.pop()
        return Response(status=200, body={})

    server = server_of(slow)
    threads = [threading.Thread(target=lambda: requests.get(server.url, timeout=10)) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert (len(most), max(most)) == (8, 1)


def test_nothing_weaker_than_tls_1_2(azure: Emulated) -> None:
    assert (
        certificates.context(certificates.authority(Path(azure.ca).parent).ca).minimum_version == ssl.TLSVersion.TLSv1_2
    )


def test_a_file_that_others_write_to_is_sent_as_far_as_it_went(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_bytes(b"x" * 200_000)

    def answer(_request: Request) -> Response:
        size = path.stat().st_size
        with path.open("ab") as stream:
            stream.write(b"y" * 50_000)
        return Response(status=200, body=File(path=path, size=size))

    with Server(answer, tls=None) as server:
        for size in (200_000, 250_000):
            found = requests.get(server.url, timeout=10, proxies={"http": ""})
            assert len(found.content) == int(found.headers["content-length"]) == size
