"""The one way out to addresses that tenants named: what is refused, where the socket goes, and how an attempt ends."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from certificates import contexts
from hostile_urls import ADDRESSES, PUBLIC, SPELLINGS, URLS
from hypothesis import given
from hypothesis import strategies as st
from outside_line import OutsideLine, Script, answer, drip, flood, hang, reset, say

from kiff.errors import InvalidInput
from kiff.server.addresses import is_public
from kiff.server.egress import Egress, EgressPolicy, NoAnswer, NotSent, TargetRefused, policy_of, read_policy
from kiff.server.egress_policy import Target

STRICT = EgressPolicy()
SECONDS = 5.0


def asked(line: OutsideLine, seconds: float = SECONDS, **options: int) -> object:
    egress = Egress(policy_of([f"http://127.0.0.1:{line.port}"]))
    return egress.post(line.url, {"content-type": "application/json"}, b"{}", seconds, **options)


def named(*answers: list[str]) -> Callable[[str, int], list[str]]:
    """A name server that says something else each time; the last word stays."""
    left = list(answers)
    return lambda name, port: left.pop(0) if len(left) > 1 else left[0]


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_address_inside_a_house_is_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_control_a_public_address_is_one(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_literal_address_inside_a_house_is_refused(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(TargetRefused):
        STRICT.target(f"https://{host}/hook")


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_name_is_refused_when_one_of_its_addresses_is_inside_a_house(address: str) -> None:
    egress = Egress(STRICT, resolve=named(["8.8.8.8", address, "1.1.1.1"]))
    with pytest.raises(TargetRefused, match="no public address"):
        egress.post("https://hooks.example.com/", {}, b"", SECONDS)


@pytest.mark.parametrize("host", SPELLINGS)
def test_a_host_that_two_programs_may_read_differently_is_refused(host: str) -> None:
    with pytest.raises(TargetRefused):
        STRICT.target(f"https://{host}/hook")


@pytest.mark.parametrize("url", URLS, ids=ascii)
def test_a_hostile_url_is_refused(url: str) -> None:
    with pytest.raises(TargetRefused) as refused:
        STRICT.target(url)
    assert refused.value.message.isprintable()


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("https://hooks.example.com", "hooks.example.com", "/"),
        ("https://Hooks.Example.COM:443/a/b?c=d&e=%20", "hooks.example.com", "/a/b?c=d&e=%20"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", "/"),
        ("https://8.8.8.8/", "8.8.8.8", "/"),
        ("https://[2606:4700:4700:0::1111]/", "2606:4700:4700::1111", "/"),
    ],
)
def test_control_a_plain_https_url_is_a_target(url: str, host: str, path: str) -> None:
    target = STRICT.target(url)
    assert (target.scheme, target.host, target.port, target.path) == ("https", host, 443, path)


PIECES = st.sampled_from(
    [
        *"/:@?#\\[]%.;&= \t\r\n",
        "https://",
        "http://",
        "//",
        "example.com",
        "127.0.0.1",
        "[::1]",
        "443",
        "0x7f",
        "@",
        ":",
    ]
)


@given(st.lists(PIECES, max_size=9).map("".join))
def test_a_url_that_is_asked_means_the_same_to_other_readers(rest: str) -> None:
    """Whatever is let through, two other parsers find the same host and port in it."""
    url = f"https://{rest}"
    try:
        target = policy_of(["127.0.0.0/8"]).target(url)
    except TargetRefused:
        return
    theirs, also = urlsplit(url), httpx.URL(url)
    assert (target.host, target.port) == (theirs.hostname, theirs.port or 443) == (also.host, also.port or 443)
    assert (theirs.username, also.userinfo) == (None, b"")


def test_a_name_that_resolves_to_something_else_the_second_time_is_judged_each_time_it_is_used() -> None:
    """Rebinding: the address that was judged is the one the socket goes to, so nothing is looked up in between."""
    with OutsideLine(answer()) as line:
        looked_up: list[str] = []

        def resolve(name: str, port: int) -> list[str]:
            looked_up.append(name)
            return ["127.0.0.1"] if len(looked_up) == 1 else ["127.0.0.2"]

        policy = policy_of([f"http://rebind.test:{line.port}", "127.0.0.1/32"])
        egress = Egress(policy, resolve=resolve)
        url = f"http://rebind.test:{line.port}/"
        assert egress.post(url, {}, b"", SECONDS).status == 200
        assert looked_up == ["rebind.test"]
        with pytest.raises(TargetRefused, match=r"127\.0\.0\.2"):
            egress.post(url, {}, b"", SECONDS)
        assert line.connections == 1


def test_control_a_client_that_looks_the_name_up_again_reaches_inside() -> None:
    """What the pinned socket prevents: check with one look-up, connect with the next."""
    with OutsideLine(answer()) as line:
        resolve = named(["8.8.8.8"], ["127.0.0.1"])
        target = Target("https", "rebind.test", 443, "/", None)
        STRICT.require_reachable(target, [ip_address(text) for text in resolve("rebind.test", 443)])
        with socket.create_connection((resolve("rebind.test", 443)[0], line.port)):
            pass


def test_tls_verifies_the_name_while_the_socket_goes_to_the_address(tmp_path: Path) -> None:
    server, client = contexts(tmp_path, "hooks.test")
    with OutsideLine(answer(), server) as line:
        policy = policy_of([f"hooks.test:{line.port}", "127.0.0.1/32"])
        egress = Egress(policy, context=client, resolve=named(["127.0.0.1"]))
        assert egress.post(f"https://hooks.test:{line.port}/", {}, b"hello", SECONDS).status == 200
        assert f"host: hooks.test:{line.port}".encode() in line.requests[0]


@pytest.mark.parametrize("name", ["other.test", "127.0.0.1"])
def test_a_certificate_for_another_name_ends_before_anything_is_sent(name: str, tmp_path: Path) -> None:
    server, client = contexts(tmp_path, "hooks.test")
    with OutsideLine(answer(), server) as line:
        policy = policy_of([f"{name}:{line.port}", "127.0.0.1/32"])
        egress = Egress(policy, context=client, resolve=named(["127.0.0.1"]))
        with pytest.raises(NotSent, match="certificate"):
            egress.post(f"https://{name}:{line.port}/", {}, b"secret", SECONDS)
        assert line.requests == []


def test_a_certificate_of_an_unknown_authority_is_refused(tmp_path: Path) -> None:
    server, _ = contexts(tmp_path, "hooks.test")
    with OutsideLine(answer(), server) as line:
        policy = policy_of([f"hooks.test:{line.port}", "127.0.0.1/32"])
        with pytest.raises(NotSent, match="certificate"):
            Egress(policy, resolve=named(["127.0.0.1"])).post(f"https://hooks.test:{line.port}/", {}, b"", SECONDS)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_a_redirect_is_an_answer_and_is_not_followed(status: str) -> None:
    with OutsideLine(answer()) as inside:
        with OutsideLine(answer(status, headers=f"Location: {inside.url}\r\n")) as line:
            told = asked(line)
        assert (told.status, told.headers["location"]) == (int(status[:3]), inside.url)  # type: ignore[attr-defined]
        assert inside.connections == 0


def test_no_proxy_of_the_environment_takes_part(monkeypatch: pytest.MonkeyPatch) -> None:
    with OutsideLine(answer()) as proxy, OutsideLine(answer()) as line:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        asked(line)
        assert (proxy.connections, line.connections) == (0, 1)


def test_a_cookie_is_neither_kept_nor_sent() -> None:
    with OutsideLine(answer(headers="Set-Cookie: a=b\r\n")) as line:
        egress = Egress(policy_of([f"http://127.0.0.1:{line.port}"]))
        for _ in range(2):
            egress.post(line.url, {}, b"", SECONDS)
        assert b"cookie" not in line.requests[1].lower()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-a", "b\r\nx-evil: 1"),
        ("x-a", "b\n"),
        ("x-a", "\x00"),
        ("x-a", " b"),
        ("x-a", "é"),
        ("x a", "b"),
        ("x-a:", "b"),
        ("", "b"),
        ("Host", "example.com"),
        ("Transfer-Encoding", "chunked"),
        ("content-length", "0"),
        ("Cookie", "a=b"),
        ("proxy-authorization", "Basic"),
        ("Connection", "keep-alive"),
    ],
)
def test_a_header_that_would_change_the_request_is_refused(name: str, value: str) -> None:
    with OutsideLine(answer()) as line:
        egress = Egress(policy_of([f"http://127.0.0.1:{line.port}"]))
        with pytest.raises(InvalidInput, match="cannot be sent"):
            egress.post(line.url, {name: value}, b"", SECONDS)
        assert line.connections == 0


@pytest.mark.parametrize(
    "script",
    [
        hang,
        reset,
        drip,
        say(b""),
        say(b"HTTP/1.1 200 OK\r\nContent-Le"),
        say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}"),
        say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"),
        say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
        say(b"SSH-2.0-OpenSSH_9.6\r\n"),
        say(b"HTTP/1.1 9999 No\r\n\r\n"),
        say(b"HTTP/1.1 200 OK\r\n" + b"X-A: " + b"a" * 200_000 + b"\r\n\r\n"),
        say(b"\x00" * 100),
    ],
    ids=lambda script: getattr(script, "__name__", ""),
)
def test_a_request_that_was_sent_and_got_no_whole_answer_may_have_worked(script: Script) -> None:
    with OutsideLine(script) as line:
        with pytest.raises(NoAnswer):
            asked(line, seconds=0.5)
        assert len(line.requests) == 1


def test_a_port_where_nobody_listens_is_not_sent() -> None:
    with OutsideLine(answer()) as line:
        port = line.port
    egress = Egress(policy_of([f"http://127.0.0.1:{port}"]))
    with pytest.raises(NotSent):
        egress.post(f"http://127.0.0.1:{port}/", {}, b"", SECONDS)


def test_a_handshake_that_never_ends_is_not_sent(tmp_path: Path) -> None:
    _, client = contexts(tmp_path, "127.0.0.1")
    with OutsideLine(hang) as line:
        egress = Egress(policy_of([f"127.0.0.1:{line.port}"]), context=client)
        with pytest.raises(NotSent, match="deadline"):
            egress.post(f"https://127.0.0.1:{line.port}/", {}, b"", 0.3)


@pytest.mark.parametrize("answers", [[], ["no address"], ["8.8.8.8", "fe80::1%eth0"]])
def test_a_look_up_that_says_no_address_is_not_sent(answers: list[str]) -> None:
    with pytest.raises(NotSent, match="no address"):
        Egress(STRICT, resolve=named(answers)).post("https://hooks.example.com/", {}, b"", SECONDS)


def test_a_look_up_that_fails_is_not_sent() -> None:
    def fail(name: str, port: int) -> list[str]:
        raise socket.gaierror("no such name")

    with pytest.raises(NotSent, match="cannot be looked up"):
        Egress(STRICT, resolve=fail).post("https://hooks.example.com/", {}, b"", SECONDS)


def test_a_look_up_that_hangs_is_left_at_the_deadline() -> None:
    let_go = threading.Event()

    def wait(name: str, port: int) -> list[str]:
        let_go.wait(20)
        return ["8.8.8.8"]

    with pytest.raises(NotSent, match="in time"):
        Egress(STRICT, resolve=wait).post("https://hooks.example.com/", {}, b"", 0.1)
    let_go.set()


def test_the_next_address_of_a_name_is_tried_when_nobody_listens_at_the_first() -> None:
    with OutsideLine(answer()) as line:
        policy = policy_of([f"http://two.test:{line.port}", "127.0.0.0/8"])
        egress = Egress(policy, resolve=named(["127.0.0.9", "127.0.0.1"]))
        assert egress.post(f"http://two.test:{line.port}/", {}, b"", SECONDS).status == 200


def test_what_is_read_of_an_answer_is_bounded() -> None:
    with OutsideLine(flood) as line:
        told = asked(line, max_bytes=1_000)
    assert (told.status, len(told.body), told.complete) == (200, 1_000, False)  # type: ignore[attr-defined]


def test_control_an_answer_comes_back_whole() -> None:
    with OutsideLine(answer("418 Teapot", b'{"a": 1}', "X-A: 1\r\nX-A: 2\r\n")) as line:
        told = asked(line)
    assert told.status == 418  # type: ignore[attr-defined]
    assert (told.body, told.complete, told.headers["x-a"]) == (b'{"a": 1}', True, "1")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("allow", "url"),
    [
        (["127.0.0.1:9000"], "http://127.0.0.1:9000/"),
        (["127.0.0.1:9000"], "https://127.0.0.1:9001/"),
        (["127.0.0.1"], "https://127.0.0.1:9000/"),
        (["127.0.0.1"], "https://127.0.0.2/"),
        (["http://127.0.0.1"], "http://127.0.0.1:8080/"),
        (["10.0.0.0/8"], "https://11.0.0.1:444/"),
        (["10.0.0.0/8"], "http://10.0.0.1/"),
        (["10.0.0.0/8"], "https://127.0.0.1/"),
        (["hooks.test"], "https://evil.hooks.test:8443/"),
        (["hooks.test"], "https://hooks.test.evil:8443/"),
        (["hooks.test"], "http://hooks.test/"),
    ],
)
def test_allowing_one_thing_allows_no_other(allow: list[str], url: str) -> None:
    with pytest.raises(TargetRefused):
        policy_of(allow).target(url)


@pytest.mark.parametrize(
    ("allow", "url"),
    [
        (["127.0.0.1:9000"], "https://127.0.0.1:9000/"),
        (["http://127.0.0.1:9000"], "http://127.0.0.1:9000/"),
        (["http://127.0.0.1:*"], "http://127.0.0.1:4711/"),
        (["[::1]:9000"], "https://[::1]:9000/"),
        (["10.0.0.0/8"], "https://10.1.2.3/"),
        (["Hooks.test:8443"], "https://hooks.TEST:8443/"),
        (["http://hooks.test"], "http://hooks.test/"),
    ],
)
def test_control_what_is_allowed_is_a_target(allow: list[str], url: str) -> None:
    assert policy_of(allow).target(url).host


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "169.254.169.254", "100.100.100.200", "fe80::1", "0.0.0.0", "ff02::1"]
)
def test_an_allowed_name_may_be_at_a_private_address_and_nowhere_else(address: str) -> None:
    policy = policy_of(["hooks.test"])
    target = policy.target("https://hooks.test/")
    policy.require_reachable(target, [ip_address("10.1.2.3")])
    with pytest.raises(TargetRefused):
        policy.require_reachable(target, [ip_address(address)])


def test_localhost_is_this_machine_and_nothing_else() -> None:
    policy = policy_of(["localhost"])
    target = policy.target("https://localhost/")
    policy.require_reachable(target, [ip_address("127.0.0.1"), ip_address("::1")])
    with pytest.raises(TargetRefused):
        policy.require_reachable(target, [ip_address("10.0.0.1")])


@pytest.mark.parametrize(
    "entry",
    ["", "*", "*:443", "*.example.com", "https://a", "http://", "a:0", "a:70000", "a:b", "a/b", "10.0.0.1/8", "127.1"],
)
def test_an_entry_that_is_neither_host_nor_range_is_refused(entry: str) -> None:
    with pytest.raises(InvalidInput, match=r"allow|port"):
        policy_of([entry])


@pytest.mark.parametrize("text", ["allow = 1", "allowed = []", "allow = [1]", "ports = [true]", "ports = ['a']", "="])
def test_a_policy_file_that_says_something_else_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "egress.toml").write_text(text)
    with pytest.raises(InvalidInput, match=r"egress\.toml"):
        read_policy(tmp_path)


def test_no_policy_file_is_the_strict_policy(tmp_path: Path) -> None:
    assert read_policy(tmp_path) == STRICT


def test_control_a_policy_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "egress.toml").write_text('allow = ["hooks.test:9000"]\nports = [8443]\n')
    policy = read_policy(tmp_path)
    assert policy.target("https://hooks.test:9000/").port == 9000
    assert policy.target("https://example.com:8443/").port == 8443
