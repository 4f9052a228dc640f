"""Where the key goes: to the server it was given for, over a line nobody reads, and into no text."""

from __future__ import annotations

import copy
import pickle
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from certificates import contexts
from client_cases import client, outcome, tools
from hostile import KEY, Hostile, allowed, http, reset

from kiff_guard.address import Address, read_address, read_proxy
from kiff_guard.client import HTTPClient
from kiff_guard.errors import ConfigurationError, GuardError, Unreachable


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with Hostile(allowed) as other:
        with Hostile(http(status, {}, f"Location: {other.url}/v1/proposals/decide")) as server:
            assert outcome(server) == "bad_answer"
            assert len(server.asked) == 1
        assert other.lines == 0


@pytest.mark.parametrize("header", ["Refresh: 0;url={}", "Link: <{}>; rel=preload", 'Alt-Svc: h2="{}"'])
def test_nothing_else_that_points_elsewhere_is_followed(header: str) -> None:
    with Hostile(allowed) as other:
        with Hostile(http(503, {}, header.format(other.url))) as server:
            assert outcome(server) == "refused"
        assert other.lines == 0


REFUSED_URLS = {
    "plain HTTP to another machine": "http://kiff.example.com",
    "plain HTTP to an address": "http://192.0.2.7:8480",
    "a name that only begins as this machine": "http://localhost.example.com",
    "a number that only begins as this machine": "http://127.0.0.1.example.com",
    "a user": "https://somebody@kiff.example.com",
    "a user who looks like a host": "http://127.0.0.1@kiff.example.com",
    "a password": "https://u:hunter2@kiff.example.com",
    "a query": "https://kiff.example.com?x=hunter2",
    "a fragment": "https://kiff.example.com#here",
    "another scheme": "ftp://kiff.example.com",
    "a file": "file:///etc/passwd",
    "no scheme": "kiff.example.com",
    "nothing": "",
    "no host": "https://",
    "a port that is none": "https://kiff.example.com:http",
    "a port that is too large": "https://kiff.example.com:99999",
    "a line break": "https://kiff.example.com/\r\nX: y",
    "a space": "https://kiff example.com",
    "a backslash": "https://127.0.0.1\\@kiff.example.com",
    "a letter that looks like another": "https://kıff.example.com",
}


@pytest.mark.parametrize("name", REFUSED_URLS)
def test_a_url_that_is_no_servers_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="`base_url`") as refused:
        HTTPClient(KEY, tools(), REFUSED_URLS[name])
    assert isinstance(refused.value, ValueError)
    assert not {"hunter2", KEY} & set(str(refused.value).replace(":", " ").split())


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://KIFF.example.com/", "https://kiff.example.com"),
        ("https://kiff.example.com:8443/kiff/", "https://kiff.example.com:8443/kiff"),
        ("http://127.0.0.1:8480", "http://127.0.0.1:8480"),
        ("http://127.8.9.1", "http://127.8.9.1"),
        ("http://[::1]:8480", "http://[::1]:8480"),
        ("http://localhost:8480", "http://localhost:8480"),
    ],
)
def test_a_url_has_one_spelling(url: str, told: str) -> None:
    assert HTTPClient(KEY, tools(), url).url == told


def test_plain_http_to_another_machine_takes_a_word_that_says_so() -> None:
    assert HTTPClient(KEY, tools(), "http://kiff.internal", allow_insecure_http=True).url == "http://kiff.internal"


def test_without_a_url_it_is_kiffs_own() -> None:
    assert HTTPClient(KEY, tools()).url == "https://api.kiff.dev"


@pytest.mark.parametrize("key", ["", "two words", "a\r\nX: y", "schlüssel", "x" * 600, None, 7])
def test_a_key_that_no_header_can_have_is_refused_and_not_repeated(key: Any) -> None:
    with pytest.raises(ConfigurationError, match="`api_key` must be a secret") as refused:
        HTTPClient(key, tools())
    assert not key or str(key) not in str(refused.value)


@pytest.mark.parametrize("wrong", [{"timeout": 0}, {"timeout": -1}, {"timeout": float("nan")}, {"unmapped": "odd"}])
def test_what_cannot_be_right_is_refused_by_its_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=f"`{next(iter(wrong))}` is"):
        HTTPClient(KEY, tools(), **wrong)


def test_the_key_is_in_one_header_and_nowhere_else() -> None:
    with Hostile(allowed) as server:
        outcome(server)
        [asked] = server.asked
    assert [name for name, value in asked.headers.items() if KEY in value] == ["authorization"]
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert KEY.encode() not in asked.body
    assert KEY not in asked.path


def test_the_key_is_in_no_repr_and_no_error() -> None:
    with Hostile(reset) as server:
        asking = client(server.url, retries=0)
        with pytest.raises(Unreachable) as lost:
            asking.decide("acme", "a", "refund", {"order_id": "ord_1"})
    chain: BaseException | None = lost.value
    texts = [repr(asking), repr(asking._transport), str(asking.tool_map)]
    while chain is not None:
        texts += [str(chain), repr(chain)]
        chain = chain.__cause__ or chain.__context__
    assert not [text for text in texts if KEY in text]


def test_a_client_is_not_written_down_and_copies_of_agents_share_it() -> None:
    asking = client("http://127.0.0.1:1")
    with pytest.raises(TypeError, match="holds a key"):
        pickle.dumps(asking)
    assert copy.deepcopy({"client": asking})["client"] is asking


def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    serves, trusts = contexts(tmp_path, "kiff.example.com")
    with Hostile(allowed, tls=serves) as server:
        with pytest.raises(Unreachable, match=r"certificate of 127\.0\.0\.1 is not good"):
            client(server.url, ssl_context=trusts).decide("acme", "a", "refund", {"order_id": "ord_1"})
        assert server.asked == []


def test_a_certificate_of_an_authority_nobody_trusts_is_refused(tmp_path: Path) -> None:
    serves, _ = contexts(tmp_path, "127.0.0.1")
    with Hostile(allowed, tls=serves) as server:
        assert outcome(server) == "unreachable"
        assert (server.asked, server.lines) == ([], 1)


def test_a_certificate_that_is_good_is_taken(tmp_path: Path) -> None:
    serves, trusts = contexts(tmp_path, "127.0.0.1")
    with Hostile(allowed, tls=serves) as server:
        asking = client(server.url, ssl_context=trusts)
        outcomes = [asking.decide("acme", "a", "refund", {"order_id": "ord_1"}).outcome for _ in range(3)]
        asking.close()
        assert (outcomes, server.lines) == (["allowed"] * 3, 1)


class Tunnels:
    """A proxy that makes tunnels to one port, whatever name is asked for; with port 0 it only answers."""

    def __init__(self, port: int, answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> None:
        self.heads: list[bytes] = []
        self._to, self._answer = port, answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        line, _ = self._listener.accept()
        self._listener.close()
        with line:
            self.heads.append(line.recv(65536))
            line.sendall(self._answer)
            if not self._to:
                return
            with socket.create_connection(("127.0.0.1", self._to)) as other:
                back = threading.Thread(target=_pump, args=(other, line), daemon=True)
                back.start()
                _pump(line, other)
                back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while piece := source.recv(65536):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def test_a_proxy_makes_a_tunnel_and_sees_no_key(tmp_path: Path) -> None:
    serves, trusts = contexts(tmp_path, "kiff.example.com")
    with Hostile(allowed, tls=serves) as server:
        proxy = Tunnels(server.port)
        through = f"http://me:p%40ss@127.0.0.1:{proxy.port}"
        asking = client("https://kiff.example.com", ssl_context=trusts, proxy=through)
        decision = asking.decide("acme", "a", "refund", {"order_id": "ord_1"})
        asking.close()
        assert decision.outcome == "allowed"
    [head] = proxy.heads
    assert head.startswith(b"CONNECT kiff.example.com:443 HTTP/1.1\r\nHost: kiff.example.com:443\r\n")
    assert b"Proxy-Authorization: Basic bWU6cEBzcw==\r\n" in head
    assert KEY.encode() not in head


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 407 Who are you\r\n\r\n", b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\nand more", b"no"]
)
def test_a_proxy_that_makes_no_tunnel_is_told(answer: bytes) -> None:
    proxy = Tunnels(0, answer)
    asking = client("https://kiff.example.com", proxy=f"http://u:hunter2@127.0.0.1:{proxy.port}", retries=0, timeout=2)
    with pytest.raises(GuardError) as lost:
        asking.decide("acme", "a", "refund", {"order_id": "ord_1"})
    assert "hunter2" not in str(lost.value)
    assert KEY not in str(lost.value)


HTTPS = Address(True, "kiff.example.com", 443)
PROXIED = {"HTTPS_PROXY": "http://proxy:3128"}


@pytest.mark.parametrize(
    ("environment", "is_proxied"),
    [
        ({}, False),
        (PROXIED, True),
        ({"https_proxy": "proxy:3128"}, True),
        (PROXIED | {"https_proxy": ""}, False),
        (PROXIED | {"NO_PROXY": "kiff.example.com"}, False),
        (PROXIED | {"NO_PROXY": "other.com, .example.com"}, False),
        (PROXIED | {"NO_PROXY": "example.com:443"}, True),
        (PROXIED | {"NO_PROXY": "kiff.example.com:443"}, False),
        (PROXIED | {"NO_PROXY": "*"}, False),
        (PROXIED | {"NO_PROXY": "ample.com"}, True),
        (PROXIED | {"no_proxy": "", "NO_PROXY": "*"}, True),
        ({"HTTP_PROXY": "http://proxy:3128", "ALL_PROXY": "http://proxy:3128"}, False),
    ],
)
def test_the_environment_says_which_proxy(environment: dict[str, str], is_proxied: bool) -> None:
    assert (read_proxy(HTTPS, None, environment) is not None) == is_proxied


@pytest.mark.parametrize("url", ["https://127.0.0.1:8480", "https://localhost", "http://127.0.0.1", "https://[::1]"])
def test_no_proxy_of_the_environment_stands_before_this_machine(url: str) -> None:
    assert read_proxy(read_address(url), None, PROXIED | {"HTTP_PROXY": "http://proxy:3128"}) is None


def test_a_proxy_that_would_read_the_key_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="`proxy` would read the key"):
        client("http://kiff.internal", allow_insecure_http=True, proxy="http://proxy:3128")


@pytest.mark.parametrize("text", ["socks5://proxy:1080", "https://u:hunter2@proxy", "http://", "http://pro\nxy"])
def test_a_proxy_of_another_kind_is_refused_and_not_gone_around(text: str) -> None:
    with pytest.raises(ConfigurationError, match="`HTTPS_PROXY` is") as refused:
        read_proxy(HTTPS, None, {"HTTPS_PROXY": text})
    assert "hunter2" not in str(refused.value)


def test_a_path_of_the_server_stands_before_each_of_the_api() -> None:
    with Hostile(allowed) as server:
        client(f"{server.url}/kiff/").decide("acme", "a", "refund", {"order_id": "ord_1"})
        assert server.asked[0].path == "/kiff/v1/proposals/decide"
