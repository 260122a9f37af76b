import asyncio
import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address

import pytest
import uvloop

from tests.support.edge_servers import dead_port
from tests.support.ports import free_port
from vigilnet.peer.special_addresses import IpAddress
from vigilnet.traffic.exit import dial_io
from vigilnet.traffic.exit.dial_io import (
    MAX_CANDIDATES,
    STAGGER_S,
    Dial,
    in_dialling_order,
    is_own_address,
    reason_for,
)
from vigilnet.traffic.stream.messages import ANY_FAMILY, BeginFlag
from vigilnet.traffic.stream.wire import EndReason

A, B, C = (ip_address(f"127.0.0.{last}") for last in (1, 2, 3))
V4 = [ip_address("1.1.1.1"), ip_address("1.1.1.2"), ip_address("1.1.1.3")]
V6 = [ip_address("2606::1"), ip_address("2606::2")]
PREFER_IPV6 = ANY_FAMILY | BeginFlag.PREFER_IPV6

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop, uvloop.new_event_loop]


@pytest.mark.parametrize(
    ("flags", "order"),
    [
        (ANY_FAMILY, [V4[0], V6[0], V4[1], V6[1], V4[2]]),
        (PREFER_IPV6, [V6[0], V4[0], V6[1], V4[1], V4[2]]),
        (BeginFlag.IPV4_OK, V4),
        (BeginFlag.IPV6_OK | BeginFlag.PREFER_IPV6, V6),
        (BeginFlag.NONE, []),
    ],
)
def test_families_take_turns(flags: int, order: list[IpAddress]) -> None:
    assert in_dialling_order([*V4, *V6], flags) == order
    assert in_dialling_order([*V6, *V4], flags) == order


def test_number_of_candidates_is_limited() -> None:
    many = [ip_address(f"1.1.1.{last}") for last in range(1, 20)]
    assert in_dialling_order(many, ANY_FAMILY) == many[:MAX_CANDIDATES]


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ECONNREFUSED, EndReason.REFUSED),
        (errno.EHOSTUNREACH, EndReason.NO_ROUTE),
        (errno.ENETUNREACH, EndReason.NO_ROUTE),
        (errno.ETIMEDOUT, EndReason.TIMEOUT),
        (errno.ECONNRESET, EndReason.RESET),
        (errno.EPERM, EndReason.POLICY),
        (errno.EMFILE, EndReason.LIMIT),
        (errno.EPROTO, EndReason.RESET),
    ],
)
def test_reason_for_each_errno(number: int, reason: EndReason) -> None:
    assert reason_for(number) is reason


AN_AGE_S = 50.0  # of what must not be waited for; a loaded machine takes less


class Outcome:
    """Runs one dial and keeps what it said."""

    def __init__(self, candidates: list[IpAddress], port: int, timeout_s: float = 120.0) -> None:
        self.loop = asyncio.get_running_loop()
        self.done: asyncio.Future[tuple[IpAddress | None, EndReason]] = self.loop.create_future()
        self.calls = 0
        self.started = self.loop.time()
        self.took = 0.0
        self.dial = Dial(self.loop, candidates, port, timeout_s, self._done)
        self.dial.start()

    def _done(self, sock: socket.socket | None, address: IpAddress | None, reason: EndReason) -> None:
        self.calls += 1
        self.took = self.loop.time() - self.started
        if sock is not None:
            assert not sock.getblocking()
            assert sock.getpeername()[0] == str(address)
            sock.close()
        self.done.set_result((address, reason))


@contextmanager
def listening(*hosts: IpAddress) -> Iterator[int]:
    """Listen on one port of several addresses."""
    port = free_port()
    sockets = [socket.create_server((str(host), port)) for host in hosts]
    try:
        yield port
    finally:
        for sock in sockets:
            sock.close()


def run_on(loop: asyncio.AbstractEventLoop, outcome: Callable[[], Outcome]) -> Outcome:
    async def scenario() -> Outcome:
        made = outcome()
        await asyncio.wait_for(made.done, 60)
        await asyncio.sleep(0.01)
        assert made.calls == 1
        return made

    try:
        return loop.run_until_complete(scenario())
    finally:
        loop.close()


@pytest.mark.parametrize("new_loop", LOOPS)
def test_the_first_that_answers_wins(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with listening(A, B) as port:
        outcome = run_on(new_loop(), lambda: Outcome([A, B], port))
    assert outcome.done.result() == (A, EndReason.DONE)


@pytest.mark.parametrize("new_loop", LOOPS)
def test_after_a_refusal_the_next_is_tried_at_once(
    new_loop: Callable[[], asyncio.AbstractEventLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dial_io, "STAGGER_S", AN_AGE_S)
    with listening(C) as port:
        outcome = run_on(new_loop(), lambda: Outcome([A, B, C], port))
    assert outcome.done.result() == (C, EndReason.DONE)
    assert outcome.took < AN_AGE_S


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_dead_address_costs_one_stagger(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with listening(B) as port, dead_port(str(A), port):
        outcome = run_on(new_loop(), lambda: Outcome([A, B], port))
    assert outcome.done.result() == (B, EndReason.DONE)
    assert outcome.took > STAGGER_S * 0.9


def test_a_family_that_is_not_there_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class WithoutIpv6(socket.socket):
        def __init__(
            self,
            family: int = -1,
            type: int = -1,
            proto: int = -1,
            fileno: int | None = None,
        ) -> None:
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "no IPv6 here")
            super().__init__(family, type, proto, fileno)

    with listening(A) as port:
        monkeypatch.setattr(socket, "socket", WithoutIpv6)
        monkeypatch.setattr(dial_io, "STAGGER_S", AN_AGE_S)
        outcome = run_on(LOOPS[0](), lambda: Outcome([ip_address("2606::1"), A], port))
    assert outcome.done.result() == (A, EndReason.DONE)
    assert outcome.took < AN_AGE_S


def test_an_unroutable_ipv6_address_falls_back_to_ipv4_at_once() -> None:
    # Link-local without a zone is refused by every kernel.
    with listening(A) as port:
        outcome = run_on(LOOPS[0](), lambda: Outcome([ip_address("fe80::1"), A], port))
    assert outcome.done.result() == (A, EndReason.DONE)


def test_of_several_failures_the_telling_one_is_reported() -> None:
    port = free_port()
    outcome = run_on(LOOPS[0](), lambda: Outcome([ip_address("fe80::1"), A], port))
    assert outcome.done.result() == (None, EndReason.REFUSED)


@pytest.mark.parametrize("new_loop", LOOPS)
def test_silence_times_out(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with dead_port(str(A)) as port:
        outcome = run_on(new_loop(), lambda: Outcome([A], port, timeout_s=0.1))
    assert outcome.done.result() == (None, EndReason.TIMEOUT)


def test_a_cancelled_dial_says_nothing_and_leaves_no_socket() -> None:
    async def scenario() -> None:
        with dead_port(str(A)) as port:
            outcome = Outcome([A, B], port)
            (sock, _) = next(iter(outcome.dial._pending.values()))
            outcome.dial.cancel()
            outcome.dial.cancel()
            await asyncio.sleep(0.01)
            assert sock.fileno() == -1
            assert outcome.calls == 0

    asyncio.run(scenario())


def test_no_more_sockets_is_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: int) -> socket.socket:
        raise OSError(errno.EMFILE, "too many open files")

    async def scenario() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(socket, "socket", none_left)
            outcome = Outcome([A], 9)
        assert await outcome.done == (None, EndReason.LIMIT)

    asyncio.run(scenario())


def test_own_addresses_are_known_without_a_list() -> None:
    assert is_own_address(A)
    assert is_own_address(ip_address("127.99.1.1"))
    assert not is_own_address(ip_address("198.51.100.1"))
    assert not is_own_address(ip_address("8.8.8.8"))


def test_own_addresses_are_known_where_any_address_can_be_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial_io, "_binds", lambda address: True)
    dial_io._binds_any.cache_clear()
    try:
        assert is_own_address(A)
        assert not is_own_address(ip_address("198.51.100.1"))
        assert not is_own_address(ip_address("ff02::1"))
    finally:
        dial_io._binds_any.cache_clear()
