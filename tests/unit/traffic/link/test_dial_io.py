"""Which address is dialled when, and which connection wins."""

import asyncio
import errno
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import cast

import pytest

from tests.support.links import FakeAddress
from tests.support.virtual_loop import VirtualClock, VirtualLoop, run
from vigilnet.base.tasks import TaskGroup
from vigilnet.traffic.link.dial_io import Nat64, dial_first, dial_order, is_private, never_in_the_open
from vigilnet.traffic.transport.carrier import NO_PARAMS, Carrier, Listener, Transport

TCP, HTX = 1, 2


class StubCarrier:
    def __init__(self, host: str) -> None:
        self.remote_host = host
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


class Slow:
    """A transport whose dials take the time that the host's table says; negative: refused after that."""

    def __init__(self, loop: VirtualLoop, delays: dict[str, float], *, stubborn: bool = False) -> None:
        self._loop = loop
        self._delays = delays
        self._stubborn = stubborn
        self.started: list[tuple[str, float]] = []
        self.made: list[StubCarrier] = []

    async def dial(self, host: str, port: int, params: Mapping[int, object] = NO_PARAMS) -> Carrier:
        self.started.append((host, round(self._loop.time() - 1000.0, 3)))
        delay = self._delays[host]
        try:
            await asyncio.sleep(abs(delay))
        except asyncio.CancelledError:
            if not self._stubborn:
                raise
        if delay < 0:
            raise ConnectionRefusedError(host)
        carrier = StubCarrier(host)
        self.made.append(carrier)
        return cast("Carrier", carrier)

    async def listen(self, host: str, port: int, accept: Callable[[Carrier], None]) -> Listener:
        raise NotImplementedError


def dial(
    delays: dict[str, float], *, timeout_s: float = 10.0, stubborn: bool = False, extra: Sequence[str] = ()
) -> tuple[str, Slow, float]:
    """Dial the hosts of `delays`; return the winner's host, the transport, and how long it took."""
    loop = VirtualLoop()
    slow = Slow(loop, delays, stubborn=stubborn)

    async def scenario() -> str:
        tasks = TaskGroup("test")
        addresses = [FakeAddress(TCP, host, 4001) for host in (*delays, *extra)]
        try:
            carrier, address = await dial_first(
                addresses, {TCP: slow}, tasks.start, stagger_s=0.25, timeout_s=timeout_s
            )
        finally:
            took.append(loop.time() - 1000.0)
        assert carrier.remote_host == address.host
        await tasks.close()
        await asyncio.sleep(1)
        return carrier.remote_host

    took: list[float] = []
    winner = run(scenario(), loop)
    return winner, slow, round(took[0], 3)


def test_the_first_address_wins_alone_when_it_is_quick() -> None:
    winner, slow, took = dial({"a": 0.1, "b": 0.0})
    assert (winner, took) == ("a", 0.1)
    assert slow.started == [("a", 0.0)]


def test_the_next_address_starts_a_little_later_and_may_win() -> None:
    winner, slow, took = dial({"a": 5.0, "b": 0.1, "c": 0.0})
    assert (winner, took) == ("b", 0.35)
    assert slow.started == [("a", 0.0), ("b", 0.25)]


def test_a_refusal_starts_the_next_at_once() -> None:
    winner, slow, _ = dial({"a": -0.05, "b": -0.01, "c": 0.1})
    assert winner == "c"
    assert slow.started == [("a", 0.0), ("b", 0.05), ("c", 0.06)]


def test_late_winners_are_closed() -> None:
    winner, slow, _ = dial({"a": 0.3, "b": 0.01}, stubborn=True)
    assert winner == "b"
    assert [(carrier.remote_host, carrier.is_closed) for carrier in slow.made] == [("b", False), ("a", True)]


def test_when_none_can_be_reached_the_first_error_is_told() -> None:
    with pytest.raises(ConnectionRefusedError, match="b"):
        dial({"a": -1.0, "b": -0.01})


def test_an_address_that_never_answers_is_given_up() -> None:
    with pytest.raises(TimeoutError):
        dial({"a": 1e9}, timeout_s=3.0)


def test_an_error_that_is_our_own_is_not_hidden() -> None:
    with pytest.raises(KeyError):
        dial({}, extra=["nowhere"])


@pytest.mark.parametrize(
    ("host", "private"),
    [
        ("127.0.0.1", True),
        ("10.1.2.3", True),
        ("192.168.1.1", True),
        ("100.64.0.1", True),
        ("169.254.1.1", True),
        ("::1", True),
        ("fe80::1%eth0", True),
        ("fd00::1", True),
        ("9.9.9.9", False),
        ("2620:fe::fe", False),
        ("relay.example", False),
    ],
)
def test_private_addresses_are_known(host: str, private: bool) -> None:
    assert is_private(host) is private


def test_a_relay_under_cover_is_never_dialled_in_the_open() -> None:
    plain, hidden = FakeAddress(TCP, "9.9.9.1", 1), FakeAddress(HTX, "9.9.9.2", 1)
    assert never_in_the_open([hidden, plain]) == [hidden]
    assert never_in_the_open([plain]) == [plain]
    quic = replace(plain, transport=3)
    assert never_in_the_open([quic, plain]) == [quic, plain]
    assert never_in_the_open([quic, hidden, plain]) == [quic, hidden]


def test_order_is_by_transport_then_families_in_turn() -> None:
    addresses = [
        FakeAddress(TCP, "9.9.9.1", 1),
        FakeAddress(TCP, "2620::1", 1),
        FakeAddress(HTX, "9.9.9.2", 1),
        FakeAddress(TCP, "9.9.9.3", 1),
        FakeAddress(TCP, "10.0.0.1", 1),
        FakeAddress(3, "9.9.9.4", 1),
        FakeAddress(TCP, "", 0),
    ]
    slow = cast("Transport", None)
    order = dial_order(addresses, {HTX: slow, TCP: slow}, allow_private=False)
    assert [address.host for address in order] == ["9.9.9.2", "2620::1", "9.9.9.1", "9.9.9.3"]
    order = dial_order(addresses, {TCP: slow}, allow_private=True)
    assert [address.host for address in order] == ["2620::1", "9.9.9.1", "9.9.9.3", "10.0.0.1"]


class Translating(Slow):
    """Has no way to any IPv4 address."""

    async def dial(self, host: str, port: int, params: Mapping[int, object] = NO_PARAMS) -> Carrier:
        if ":" not in host:
            raise OSError(errno.ENETUNREACH, "no way")
        return await super().dial(host, port, params)


def ask_nat64(
    ours: tuple[str, str], answers: list[str], hosts: Sequence[str], pause_s: float = 0.0
) -> tuple[list[str], int]:
    """Translate hosts one after the other; return what came, and how often the network was asked."""
    loop = VirtualLoop()
    asked = 0

    async def getaddrinfo(host: str, port: object, **_: object) -> list[object]:
        nonlocal asked
        asked += 1
        assert host == "ipv4only.arpa"
        if not answers:
            raise socket.gaierror(8, "not known")
        return [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, 0, 0, 0)) for address in answers]

    loop.getaddrinfo = getaddrinfo  # type: ignore[assignment,method-assign]

    async def scenario() -> list[str]:
        nat64 = Nat64(VirtualClock(loop), lambda: ours)
        found = []
        for host in hosts:
            found.append(await nat64.address_for(host))
            await asyncio.sleep(pause_s)
        return found

    return run(scenario(), loop), asked


def test_an_ipv4_address_is_reached_by_the_networks_nat64() -> None:
    ours = ("", "2001:db8:5::9")
    found, asked = ask_nat64(ours, ["64:ff9b::192.0.0.170"], ["192.0.2.1", "198.51.100.7", "2001:db8::1"])
    assert found == ["64:ff9b::c000:201", "64:ff9b::c633:6407", ""]
    assert asked == 1


@pytest.mark.parametrize("ours", [("198.51.100.2", "2001:db8:5::9"), ("198.51.100.2", ""), ("", "")])
def test_nobody_is_asked_where_there_is_ipv4_or_no_way_at_all(ours: tuple[str, str]) -> None:
    assert ask_nat64(ours, ["64:ff9b::192.0.0.170"], ["192.0.2.1"]) == ([""], 0)


def test_a_network_without_nat64_is_asked_again_after_a_moment() -> None:
    assert ask_nat64(("", "2001:db8:5::9"), [], ["192.0.2.1"] * 4, pause_s=2.0) == ([""] * 4, 2)


def test_where_there_is_no_way_to_an_address_the_translated_one_is_dialled() -> None:
    loop = VirtualLoop()
    transport = Translating(loop, {"64:ff9b::c000:201": 0.1})

    async def translate(host: str) -> str:
        return "64:ff9b::c000:201" if host == "192.0.2.1" else ""

    async def scenario() -> str:
        tasks = TaskGroup("test")
        addresses = [FakeAddress(TCP, "198.51.100.1", 4001), FakeAddress(TCP, "192.0.2.1", 4001)]
        carrier, address = await dial_first(
            addresses, {TCP: transport}, tasks.start, stagger_s=0.25, timeout_s=5.0, translate=translate
        )
        await tasks.close()
        assert address is addresses[1]
        return carrier.remote_host

    assert run(scenario(), loop) == "64:ff9b::c000:201"
