"""The bad network does what it says, between a client and a server that answers every line with the same line."""

from __future__ import annotations

import select
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from tcp_proxy import KINDS, Fault, Plan, Proxy, drawn, untouched

GIVEN_UP = 10.0


class Echo(socketserver.ThreadingTCPServer):
    """Answers a line with the line, and remembers what came and how each connection ended."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.lines: list[bytes] = []
        self.ends: list[str] = []
        self.port = self.server_address[1]


class Answering(socketserver.StreamRequestHandler):
    server: Echo

    def handle(self) -> None:
        try:
            for line in self.rfile:
                self.server.lines.append(line)
                self.wfile.write(line)
            self.server.ends.append("end")
        except ConnectionResetError:
            self.server.ends.append("reset")


@pytest.fixture
def echo() -> Iterator[Echo]:
    with Echo() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@contextmanager
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=GIVEN_UP) as connection:
        yield connection


def told(connection: socket.socket, line: bytes = b"hello\n") -> bytes:
    """What is answered to a line: as much as comes before the end."""
    connection.sendall(line)
    answer = b""
    while not answer.endswith(b"\n") and (more := connection.recv(100)):
        answer += more
    return answer


def comes(echo_has: Callable[[], bool]) -> None:
    tick = threading.Event()
    for _ in range(round(GIVEN_UP * 100)):
        if echo_has():
            return
        tick.wait(0.01)
    raise AssertionError("it never came")


def test_without_a_fault_everything_passes(echo: Echo) -> None:
    with Proxy(echo.port) as proxy, client(proxy) as connection:
        assert told(connection, b"x" * 300_000 + b"\n") == b"x" * 300_000 + b"\n"
        connection.shutdown(socket.SHUT_WR)
        comes(lambda: echo.ends == ["end"])
        assert connection.recv(1) == b""


def test_an_answer_is_cut_after_exactly_so_many_bytes(echo: Echo) -> None:
    with Proxy(echo.port) as proxy:
        for after in range(6):
            with client(proxy) as connection:
                proxy.arm(Fault("cut", "down", after))
                assert told(connection) == b"hello\n"[:after]
    assert echo.lines == [b"hello\n"] * 6


def test_a_cut_after_the_whole_answer_has_not_struck(echo: Echo) -> None:
    with Proxy(echo.port) as proxy, client(proxy) as connection:
        proxy.arm(Fault("cut", "down", 6))
        assert told(connection) == b"hello\n"
        assert proxy.struck == {}
        assert told(connection) == b""


def test_a_request_that_is_cut_never_arrives_whole(echo: Echo) -> None:
    with Proxy(echo.port) as proxy, client(proxy) as connection:
        proxy.arm(Fault("cut", "up", 4))
        assert told(connection) == b""
        comes(lambda: echo.ends == ["end"])
        assert echo.lines == [b"hell"]


def test_an_armed_fault_strikes_once_and_one_connection(echo: Echo) -> None:
    with Proxy(echo.port) as proxy, client(proxy) as first, client(proxy) as second:
        assert told(second) == b"hello\n"
        proxy.arm(Fault("cut", "down", 0))
        assert told(first) == b""
        assert told(second) == b"hello\n"
        assert proxy.struck == {"cut": 1}


def test_a_reset_is_seen_as_one_by_both_sides(echo: Echo) -> None:
    with Proxy(echo.port) as proxy, client(proxy) as connection:
        proxy.arm(Fault("reset", "down", 0))
        with pytest.raises(ConnectionResetError):
            told(connection)
        comes(lambda: echo.ends == ["reset"])


def test_a_dropped_connection_stays_open_and_says_nothing(echo: Echo) -> None:
    with Proxy(echo.port) as proxy, client(proxy) as connection:
        proxy.arm(Fault("drop", "up", 6))
        assert told(connection) == b"hello\n"
        connection.sendall(b"lost\n")
        assert select.select([connection], [], [], 0.2)[0] == []
        assert (echo.lines, echo.ends) == ([b"hello\n"], [])


def test_half_a_close_ends_one_direction_only(echo: Echo) -> None:
    with Proxy(echo.port) as proxy, client(proxy) as connection:
        proxy.arm(Fault("half-close", "down", 2))
        assert told(connection) == b"he"
        connection.sendall(b"still heard\n")
        comes(lambda: echo.lines == [b"hello\n", b"still heard\n"])
        assert echo.ends == []


def test_a_delay_changes_no_byte(echo: Echo) -> None:
    with Proxy(echo.port) as proxy, client(proxy) as connection:
        proxy.arm(Fault("delay", "down", 3))
        assert told(connection) == b"hello\n"
        assert told(connection, b"again\n") == b"again\n"
        assert proxy.struck == {"delay": 1}


def test_a_duplicated_connection_arrives_twice_and_is_answered_once(echo: Echo) -> None:
    with Proxy(echo.port, lambda _: Fault("duplicate")) as proxy, client(proxy) as connection:
        assert told(connection) == b"hello\n"
        comes(lambda: echo.lines == [b"hello\n"] * 2)
        assert told(connection, b"again\n") == b"again\n"


def test_every_connection_there_is_can_be_struck(echo: Echo) -> None:
    with Proxy(echo.port) as proxy, client(proxy) as first, client(proxy) as second:
        assert [told(first), told(second)] == [b"hello\n"] * 2
        proxy.strike_all("cut")
        assert [first.recv(1), second.recv(1)] == [b"", b""]
        with client(proxy) as third:
            assert told(third) == b"hello\n"


def test_where_no_server_listens_a_connection_is_reset() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with Proxy(port) as proxy, pytest.raises(ConnectionError), client(proxy) as connection:
        told(connection)


def test_a_seed_draws_the_same_faults_again_and_another_draws_others(capsys: pytest.CaptureFixture[str]) -> None:
    def faults(plan: Plan) -> list[Fault | None]:
        return [plan(number) for number in range(100)]

    assert faults(drawn(7)) == faults(drawn(7)) != faults(drawn(8))
    assert {fault.kind for fault in faults(drawn(7)) if fault} == set(KINDS)
    assert faults(untouched) == [None] * 100
    assert "proxy seed 7\n" in capsys.readouterr().out
