"""What a client may send: how much, how deep, how slowly, in which bytes. Whatever it is, the server answers cleanly,
lives on, and records nothing."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from line import Line, head, post
from served import PATIENCE_SECONDS, TENANT, Served, Told, served, wait_for

from kiff.server.routes import ROUTES
from kiff.server.settings import Limits

pytestmark = pytest.mark.slow

DECIDE = "/v1/proposals/decide"
REFUND: dict[str, Any] = {
    "entity_id": "ord_1",
    "entity_type": "order",
    "action_name": "AUTO_REFUND",
    "parameters": {"amount": 49.0, "reason": "customer request"},
}
TEXT = json.dumps(REFUND).encode()
LIMITS = Limits()
HURRIED = Limits(key_rate=0, tenant_rate=0, header_seconds=0.3, body_seconds=0.3)


@contextmanager
def nothing_recorded(shop: Served) -> Iterator[None]:
    """Whatever is done within leaves the log as long as it was, and the server alive."""
    before = size(shop)
    yield
    assert size(shop) == before
    assert shop.get("/healthz", None).body == {"status": "ok"}


def size(shop: Served) -> int:
    return sum(head.size for head in shop.tower.store.heads() if head.tenant == TENANT)


def assert_clean(told: Told, status: int, code: str) -> None:
    """The status, and the body that every error has."""
    assert (told.status, told.body["code"]) == (status, code), told
    assert {"error", "code", "message", "trace_id", "docs"} <= told.body.keys()
    assert told.headers["trace-id"] == told.body["trace_id"]
    assert told.headers["content-type"] == "application/json"
    assert len(told.raw) < 2_000


def nested(levels: int) -> bytes:
    """The refund, with so many objects and arrays inside one another."""
    inside = levels - 2
    body = REFUND | {"parameters": REFUND["parameters"] | {"deep": "?"}}
    return json.dumps(body).encode().replace(b'"?"', b"[" * inside + b"]" * inside)


MALFORMED = {
    "cut off": TEXT[:-1],
    "two values": TEXT * 2,
    "NaN": TEXT.replace(b"49.0", b"NaN"),
    "Infinity": TEXT.replace(b"49.0", b"-Infinity"),
    "a number no double holds": TEXT.replace(b"49.0", b"1e999"),
    "an integer past 2^53": TEXT.replace(b"49.0", b"9007199254740993"),
    "a key twice": TEXT.replace(b"{", b'{"entity_id":"ord_2",', 1),
    "a key twice, written two ways": TEXT.replace(b"{", b'{"\\u0065ntity_id":"ord_2",', 1),
    "a key twice, further in": TEXT.replace(b'"amount"', b'"amount":1,"amount"'),
    "half a surrogate pair": TEXT.replace(b"customer request", b"\\ud800"),
    "half a surrogate pair in a key": TEXT.replace(b'"reason"', b'"reason\\udc00"'),
    "a surrogate in UTF-8": TEXT.replace(b"customer request", b"\xed\xa0\x80"),
    "an overlong sequence": TEXT.replace(b"customer request", b"\xc0\xaf"),
    "latin-1": TEXT.replace(b"customer request", "für".encode("latin-1")),
    "UTF-16": TEXT.decode().encode("utf-16"),
    "UTF-16 without a mark": TEXT.decode().encode("utf-16-le"),
    "UTF-32": TEXT.decode().encode("utf-32"),
    "a byte order mark": b"\xef\xbb\xbf" + TEXT,
    "compressed": gzip.compress(TEXT, mtime=0),
    "a NUL": b"\0" + TEXT,
    "a bare control character": TEXT.replace(b"customer request", b"a\nb"),
    "33 levels": nested(33),
    "3000 levels": b"[" * 3_000,
    "a comment": TEXT + b"// please",
    "single quotes": TEXT.replace(b'"', b"'"),
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_body_that_is_not_one_strict_json_text_is_refused(shop: Served, raw: bytes) -> None:
    with nothing_recorded(shop):
        told = shop.post(DECIDE, raw)
        assert_clean(told, 400, "invalid_json")
        assert (told.body["outcome"], told.body["reasons"]) == ("invalid", ["invalid_json"])


@pytest.mark.parametrize("raw", [b"null", b"[]", b'"text"', b"7", b"true", b"[{}]"])
def test_a_body_that_is_no_object_is_refused(shop: Served, raw: bytes) -> None:
    with nothing_recorded(shop):
        assert_clean(shop.post(DECIDE, raw), 400, "invalid")


def test_32_levels_are_read(shop: Served) -> None:
    assert shop.post(DECIDE, nested(32)).body["reasons"][0] == "invalid_parameter"


@pytest.mark.parametrize(
    "media",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a", "application/xml", "json"],
)
def test_a_body_of_another_media_type_is_refused(shop: Served, media: str) -> None:
    with nothing_recorded(shop):
        told = shop.post(DECIDE, TEXT, headers={"Content-Type": media})
        assert_clean(told, 415, "unsupported_media_type")


def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes(shop: Served) -> None:
    with nothing_recorded(shop), Line(shop) as line:
        line.send(head(shop, "POST", DECIDE, f"Content-Length: {LIMITS.body_bytes + 1}"))
        assert_clean(line.answer(), 413, "too_large")


def test_a_body_whose_size_nobody_said_ends_at_the_limit(shop: Served) -> None:
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    with nothing_recorded(shop), Line(shop) as line:
        line.send(head(shop, "POST", DECIDE, "Transfer-Encoding: chunked"), *[chunk] * 4, b"1\r\n \r\n")
        assert_clean(line.answer(), 413, "too_large")
        line.send_until_refused(chunk)


def test_a_body_of_the_largest_size_is_read(shop: Served) -> None:
    assert shop.post(DECIDE, TEXT.ljust(LIMITS.body_bytes)).status == 200
    assert_clean(shop.post(DECIDE, TEXT.ljust(LIMITS.body_bytes + 1)), 413, "too_large")


@pytest.mark.parametrize("frame", [b"1;" + b"a" * 4_096 + b"\r\n \r\n", b"1\r\n \r\n"], ids=["extensions", "chunks"])
def test_a_body_of_little_more_than_frames_ends(shop: Served, frame: bytes) -> None:
    with nothing_recorded(shop), Line(shop) as line:
        line.send(head(shop, "POST", DECIDE, "Transfer-Encoding: chunked"))
        line.send_until_refused(frame * 100)
        assert_clean(line.answer(), 413, "too_large")


@pytest.mark.parametrize("times", [1, 20], ids=["too long", "far too long"])
def test_a_long_url_is_refused(shop: Served, times: int) -> None:
    with nothing_recorded(shop), Line(shop) as line:
        line.send(head(shop, "GET", "/v1/entities?after=" + "a" * LIMITS.url_bytes * times))
        assert_clean(line.answer(), 414, "uri_too_long")


def test_a_url_that_never_ends_is_refused(shop: Served) -> None:
    with nothing_recorded(shop), Line(shop) as line:
        line.send(b"GET /v1/").send_until_refused(b"a" * 1_000)
        assert_clean(line.answer(), 414, "uri_too_long")


@pytest.mark.parametrize(
    "headers",
    [["X-Large: " + "a" * LIMITS.header_bytes], [f"X-{number}: a" for number in range(4_000)]],
    ids=["one", "many"],
)
def test_large_headers_are_refused(shop: Served, headers: list[str]) -> None:
    with nothing_recorded(shop), Line(shop) as line:
        line.send(head(shop, "GET", "/v1/me", *headers))
        assert_clean(line.answer(), 431, "header_too_large")
        assert line.rest() == b""


@pytest.mark.parametrize("part", [b"X-A: b\r\n", b"a"], ids=["headers", "a header"])
def test_a_head_that_never_ends_is_refused(shop: Served, part: bytes) -> None:
    with nothing_recorded(shop), Line(shop) as line:
        line.send(b"GET /v1/me HTTP/1.1\r\nX-A: ").send_until_refused(part * 100)
        assert_clean(line.answer(), 431, "header_too_large")


def test_trailers_that_never_end_are_refused(shop: Served) -> None:
    with nothing_recorded(shop), Line(shop) as line:
        line.send(head(shop, "POST", DECIDE, "Transfer-Encoding: chunked"), b"2\r\n{}\r\n0\r\n")
        line.send_until_refused(b"X-A: b\r\n" * 100)
        assert_clean(line.answer(), 413, "too_large")


def test_what_follows_a_body_is_no_header(shop: Served) -> None:
    """Neither a key nor an idempotency key can be slipped in behind a proxy that looks at headers."""
    chunked = b"%x\r\n%s\r\n0\r\n" % (len(TEXT), TEXT)
    trailer = f"Authorization: Bearer {shop.keys['agent']}\r\n\r\n".encode()
    with nothing_recorded(shop), Line(shop) as line:
        line.send(head(shop, "POST", DECIDE, "Transfer-Encoding: chunked", key=None), chunked, trailer)
        assert_clean(line.answer(), 401, "unauthorized")
    with Line(shop) as line:
        line.send(head(shop, "POST", DECIDE, "Transfer-Encoding: chunked"), chunked, trailer)
        assert line.answer().status == 200


NO_REQUESTS = {
    "both lengths": ("Content-Length: 4", "Transfer-Encoding: chunked"),
    "both lengths, the other way round": ("Transfer-Encoding: chunked", "Content-Length: 4"),
    "two lengths": ("Content-Length: 4", "Content-Length: 5"),
    "two lengths in one": ("Content-Length: 4, 5",),
    "a negative length": ("Content-Length: -1",),
    "a signed length": ("Content-Length: +4",),
    "an endless length": ("Content-Length: " + "9" * 30,),
    "another coding": ("Transfer-Encoding: gzip",),
    "a coding that looks like chunked": ("Transfer-Encoding: xchunked",),
    "chunked before the last": ("Transfer-Encoding: chunked, identity",),
    "a space before the colon": ("Transfer-Encoding : chunked",),
    "a folded line": ("X-A: a\r\n Content-Length: 4",),
    "a bare CR": ("X-A: a\rContent-Length: 4",),
    "a bare LF": ("X-A: a\nContent-Length: 4",),
    "a NUL": ("X-A: a\0b",),
    "a nameless header": (": a",),
}


@pytest.mark.parametrize("headers", NO_REQUESTS.values(), ids=NO_REQUESTS.keys())
def test_a_head_that_two_readers_could_read_differently_ends_the_connection(
    shop: Served, headers: tuple[str, ...]
) -> None:
    with nothing_recorded(shop), Line(shop) as line:
        line.send(head(shop, "POST", DECIDE, *headers), b"0\r\n\r\n")
        assert_clean(line.answer(), 400, "invalid")
        assert line.rest() == b""


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT kiff.test:443 HTTP/1.1\r\n\r\n",
        b"CONNECT kiff.test:443 HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"GET /v1/me HTTP/3.0\r\n\r\n",
        b"GET /v1/m\xc3\xa9 HTTP/1.1\r\n\r\n",
        b"HELLO /v1/me HTTP/1.1\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
    ],
    ids=["TLS", "HTTP/2", "CONNECT", "CONNECT upgraded", "HTTP/3", "a bare é", "another method", "SSH"],
)
def test_what_is_no_http_request_ends_the_connection(shop: Served, raw: bytes) -> None:
    with nothing_recorded(shop), Line(shop) as line:
        assert_clean(line.send(raw).answer(), 400, "invalid")
        assert line.rest() == b""


def test_http_1_0_is_answered_and_ends(shop: Served) -> None:
    with Line(shop) as line:
        line.send(head(shop, "GET", "/v1/me", version="1.0"))
        told = line.answer()
        assert (told.status, told.headers["connection"]) == (200, "close")
        assert line.rest() == b""


def test_pipelined_requests_are_answered_in_their_order(shop: Served) -> None:
    with Line(shop) as line:
        line.send(
            head(shop, "GET", "/healthz", key=None) + head(shop, "GET", "/v1/nothing") + head(shop, "GET", "/v1/me")
        )
        assert [line.answer().status for _ in range(3)] == [200, 404, 200]


def test_what_cannot_be_read_does_not_take_the_answer_of_what_came_before_it(own_shop: Served) -> None:
    own_shop.paid("ord_1")
    own_shop.outside.behaviour = "hang"
    body = json.dumps({"entity_type": "order", "parameters": REFUND["parameters"]}).encode()
    with Line(own_shop) as line:
        line.send(post(own_shop, "/v1/entities/ord_1/actions/AUTO_REFUND/execute", body))
        wait_for(lambda: own_shop.tower.runtime.running())
        line.send(b"no request\r\n\r\n")
        own_shop.outside.let_go.set()
        assert line.answer().body["result"]["status"] == "succeeded"
        assert line.rest() == b""


@pytest.mark.parametrize("together", [True, False], ids=["in one packet", "in two"])
def test_an_offer_of_another_protocol_is_declined_and_the_request_served(shop: Served, together: bool) -> None:
    """Java's client offers h2c with every request; a parser that believes it loses the body."""
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")
    raw = post(shop, DECIDE, TEXT, *offer)
    with Line(shop) as line:
        line.send(*([raw] if together else [raw[: -len(TEXT)], TEXT]))
        assert (line.answer().status, line.send(raw).answer().status) == (200, 200)


def test_the_body_of_a_request_that_offers_another_protocol_is_no_request(shop: Served) -> None:
    smuggled = head(shop, "GET", "/v1/me", key="owner")
    with nothing_recorded(shop), Line(shop) as line:
        line.send(post(shop, DECIDE, smuggled, "Connection: Upgrade", "Upgrade: websocket"))
        assert_clean(line.answer(), 400, "invalid_json")
        assert line.send(head(shop, "GET", "/healthz", key=None)).answer().body == {"status": "ok"}


def test_a_body_that_is_cut_off_is_no_body(shop: Served) -> None:
    asked = shop.tower.counts.requests
    before = asked["POST", DECIDE, 499]
    with nothing_recorded(shop), Line(shop) as line:
        line.send(post(shop, DECIDE, TEXT)[:-1]).half_close()
        assert line.rest() == b""
        wait_for(lambda: asked["POST", DECIDE, 499] > before)


def test_two_keys_are_none(shop: Served) -> None:
    with nothing_recorded(shop), Line(shop) as line:
        line.send(post(shop, DECIDE, TEXT, f"Authorization: Bearer {shop.keys['owner']}"))
        assert_clean(line.answer(), 401, "unauthorized")


def test_two_idempotency_keys_are_refused(shop: Served) -> None:
    with nothing_recorded(shop), Line(shop) as line:
        line.send(post(shop, DECIDE, TEXT, "Idempotency-Key: one", "Idempotency-Key: two"))
        told = line.answer()
        assert_clean(told, 400, "invalid")
        assert told.body["field"] == "Idempotency-Key"


NO_IDS = ["a%0d%0aSet-Cookie:x=y", "%00", "%0a", "a%20b", "%e2%80%ae", "%c0%ae%c0%ae", "%ff", "%25%32%66", "a" * 129]
NO_IDS += ["..%2f..%2fkeys", "..%5c..%5ckeys", "%2E%2E%2F", "%u002f", "%zz", "%1b[31m", "%e2%80%a8", "{id}", "'--", "%"]


@pytest.mark.parametrize("bad", NO_IDS)
def test_what_is_no_id_is_refused_in_every_place_of_every_path(shop: Served, bad: str) -> None:
    headers = {"Authorization": f"Bearer {shop.keys['owner']}"}
    with nothing_recorded(shop), closing(HTTPConnection(shop.host, timeout=PATIENCE_SECONDS)) as connection:
        for route in ROUTES:
            fixed = re.split(r"{\w+(?::path)?}", route.path)
            for place in range(1, len(fixed)):
                path = "x".join(fixed[:place]) + bad + "x".join(fixed[place:])
                connection.request(route.method, path, b"", headers)
                response = connection.getresponse()
                raw = response.read()
                assert 400 <= response.status < 500, (route.method, path, response.status, raw)
                assert response.getheader("set-cookie") is None


@pytest.mark.parametrize("bad", ["a\r\n b", "a b", "a\tb", "a" * 129, "ä", '"a"', "a,b", ""])
def test_what_is_no_id_is_refused_as_idempotency_key(shop: Served, bad: str) -> None:
    with nothing_recorded(shop), Line(shop) as line:
        line.send(post(shop, DECIDE, TEXT, f"Idempotency-Key: {bad}"))
        assert_clean(line.answer(), 400, "invalid")


@pytest.mark.parametrize("bad", ["a\r\nX-A: b", "a\u2028b", "a\x1b[31mb", "a/b", "ord 1", "", "оrd_1"])
@pytest.mark.parametrize("name", ["entity_id", "action_name", "id", "actor_id", "approval_id"])
def test_what_is_no_id_is_refused_in_a_body(shop: Served, name: str, bad: str) -> None:
    with nothing_recorded(shop):
        told = shop.post(DECIDE, REFUND | {name: bad})
        assert told.status in (400, 403)
        assert told.body["outcome"] != "allowed"


@pytest.mark.parametrize(
    "query", ["limit=1&limit=2", "limit=1;after=x", "limit=%ff", "limit", "limi%74=1&limit=1", "no=1", "%00=1", "&"]
)
def test_a_query_that_two_readers_could_read_differently_is_refused(shop: Served, query: str) -> None:
    assert_clean(shop.get(f"/v1/entities?{query}", "owner"), 400, "invalid")


@pytest.mark.parametrize("path", ["/v1/me/", "//v1/me", "/v1//me", "/v1/./me", "/v1/x/../me", "/V1/me"])
def test_a_path_is_taken_as_it_is_and_nobody_is_sent_elsewhere(shop: Served, path: str) -> None:
    told = shop.get(path, headers={"Host": "evil.example"})
    assert_clean(told, 404, "not_found")
    assert "evil.example" not in str(told)


@pytest.mark.parametrize("path", ["/v1/entities/ord_1%2fstate", "/v1%2Fme", "/v1/approvals/x%2f..%2fy", "/%2fv1/me"])
def test_an_encoded_slash_is_no_slash(shop: Served, path: str) -> None:
    assert_clean(shop.get(path, "owner"), 404, "not_found")


@pytest.mark.parametrize("host", ["[", "a b", "evil.example/v1?", "ä"])
def test_a_host_that_is_none_changes_nothing(shop: Served, host: str) -> None:
    with Line(shop) as line:
        for path, status in (("/v1/me", 200), ("/v1/nothing", 404)):
            told = line.send(head(shop, "GET", path).replace(b"kiff.test", host.encode("latin-1"))).answer()
            assert told.status == status
            assert "evil" not in told.raw.decode()


def drip(line: Line, part: bytes) -> None:
    """Sends a little again and again, and reads nothing, until the server says something."""
    for _ in range(int(PATIENCE_SECONDS / 0.02)):
        if line.has_something(0.02):
            return
        line.send(part)
    raise AssertionError("the server had all the time in the world")


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that waits for nobody."""
    with served(tmp_path_factory.mktemp("hurried"), HURRIED) as shop:
        yield shop


@pytest.mark.parametrize("part", [b"", b"X-A: b\r\n"], ids=["silent", "drop by drop"])
def test_a_head_that_is_slow_in_coming_is_refused(hurried: Served, part: bytes) -> None:
    with nothing_recorded(hurried), Line(hurried) as line:
        line.send(b"GET /v1/me HTTP/1.1\r\nHost: x\r\n")
        drip(line, part)
        assert_clean(line.answer(), 408, "request_timeout")
        assert line.rest() == b""


@pytest.mark.parametrize("part", [b"", b"1\r\n \r\n"], ids=["silent", "drop by drop"])
def test_a_body_that_is_slow_in_coming_is_refused(hurried: Served, part: bytes) -> None:
    with nothing_recorded(hurried), Line(hurried) as line:
        line.send(head(hurried, "POST", DECIDE, "Transfer-Encoding: chunked"))
        drip(line, part)
        assert_clean(line.answer(), 408, "request_timeout")
        assert line.rest() == b""


@pytest.mark.parametrize("before", [b"", b"\r\n"], ids=["nothing", "an empty line"])
def test_a_connection_on_which_nothing_is_asked_ends(hurried: Served, before: bytes) -> None:
    with Line(hurried) as line:
        assert line.send(before).rest() == b""


def test_an_empty_line_after_an_answer_does_not_keep_the_connection(hurried: Served) -> None:
    with Line(hurried) as line:
        line.send(head(hurried, "GET", "/healthz", key=None)).answer()
        assert line.send(b"\r\n").rest() == b""


def test_what_is_slow_in_coming_does_not_take_the_answer_of_what_came_before_it(tmp_path: Path) -> None:
    with served(tmp_path, HURRIED) as shop:
        shop.paid("ord_1")
        shop.outside.behaviour = "hang"
        body = json.dumps({"entity_type": "order", "parameters": REFUND["parameters"]}).encode()
        with Line(shop) as line:
            line.send(post(shop, "/v1/entities/ord_1/actions/AUTO_REFUND/execute", body), b"GET /v1/me HT")
            with Line(shop) as other:  # whose head came later, and is late already
                other.send(b"GET /v1/me HT")
                wait_for(lambda: shop.tower.runtime.running())
                other.answer()
            shop.outside.let_go.set()
            assert line.answer().body["result"]["status"] == "succeeded"
            assert line.rest() == b""


def connections(shop: Served) -> int:
    server = shop.serving._server
    assert server is not None
    return len(server.server_state.connections)


def test_a_client_that_does_not_read_is_let_go(hurried: Served) -> None:
    asked = head(hurried, "GET", "/v1/openapi.json", key=None)
    with Line(hurried) as line:
        whole = len(line.send(asked).answer().raw)
    with Line(hurried, receive_buffer=4_096) as line:
        count = (32 << 20) // whole
        line.send(asked * count)
        wait_for(lambda: connections(hurried))
        wait_for(lambda: not connections(hurried))
        assert len(line.rest()) < count * whole


def test_strangers_leave_room_to_those_with_a_key(tmp_path: Path) -> None:
    """Bodies that are slow in coming, on a route that takes no key, take the room of all strangers and no more."""
    limits = Limits(key_rate=0, tenant_rate=0, open=4, tenant_open=2)
    webhook = f"/v1/adapters/{TENANT}/stripe-webhook"
    with served(tmp_path, limits) as shop, Line(shop) as one, Line(shop) as two, Line(shop) as three:
        for number, line in enumerate((one, two), 1):
            line.send(head(shop, "POST", webhook, "Content-Length: 9", key=None))
            wait_for(lambda number=number: shop.tower.counts.open_of[""] == number)
        told = three.send(post(shop, webhook, b"{}", key=None)).answer()
        assert_clean(told, 503, "overloaded")
        assert shop.get("/v1/me").status == 200


def test_a_server_that_carries_all_it_can_still_says_that_it_lives(tmp_path: Path) -> None:
    limits = Limits(key_rate=0, tenant_rate=0, open=1)
    with served(tmp_path, limits) as shop, Line(shop) as line:
        line.send(head(shop, "POST", DECIDE, "Content-Length: 9"))
        wait_for(lambda: shop.tower.counts.open == 1)
        told = shop.get("/v1/me")
        assert_clean(told, 503, "overloaded")
        assert told.headers["retry-after"] == "1"
        assert shop.get("/healthz", None).status == 200
        assert b"kiff_requests_shed_total" in shop.get("/metrics", None).raw
