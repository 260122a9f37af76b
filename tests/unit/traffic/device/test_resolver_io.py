"""Which servers a machine asks in the end, for each way of naming them."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import dns.message
import dns.rcode
import dns.rrset
import pytest

from vigilnet.base.clock import SystemClock
from vigilnet.traffic.device.options import DnsMode
from vigilnet.traffic.device.resolver_io import NameServer, system_servers
from vigilnet.traffic.stream.messages import Resolve, Resolved, ResourceRecord, Target
from vigilnet.traffic.stream.stream import Stream, StreamEndedError
from vigilnet.traffic.stream.wire import EndReason

STUB = "# made by systemd-resolved\nnameserver 127.0.0.53\noptions edns0 trust-ad\nsearch lan\n"
BEHIND = "nameserver 192.0.2.1\nnameserver 2001:db8::1\n"


@pytest.mark.parametrize(
    ("file", "stub", "servers"),
    [
        ("nameserver 192.0.2.53\n", "", ["192.0.2.53"]),  # plain, or NetworkManager without a stub
        (STUB, BEHIND, ["192.0.2.1", "2001:db8::1"]),  # systemd-resolved
        ("nameserver 127.0.1.1\n", BEHIND, ["192.0.2.1", "2001:db8::1"]),  # NetworkManager with dnsmasq
        ("nameserver 127.0.0.1\n", "nameserver 127.0.0.1\n", ["127.0.0.1"]),  # a resolver of one's own
        ("nameserver\nnameserver one.example\nnameserver 192.0.2.1 # x\n", "", ["192.0.2.1"]),
        ("", "", []),
    ],
)
def test_behind_a_stub_are_the_servers_that_it_asks(
    tmp_path: Path, file: str, stub: str, servers: list[str]
) -> None:
    (tmp_path / "resolv.conf").write_text(file)
    (tmp_path / "stub.conf").write_text(stub)
    found = system_servers(tmp_path / "resolv.conf", [tmp_path / "none", tmp_path / "stub.conf"])
    assert found == servers


def test_a_machine_without_the_file_has_none(tmp_path: Path) -> None:
    assert system_servers(tmp_path / "none", []) == []


# ---- the name server itself


REBOUND = (b"\x7f\0\0\x01", b"\xc0\xa8\x01\x01", b"\xc0\x00\x02\x01")


class Upstream:
    """A dialler whose exit knows one name; streams are refused."""

    def __init__(self) -> None:
        self.asked: list[Resolve] = []
        self.is_dead = False

    async def resolve(self, request: Resolve, isolation: str) -> Resolved:
        self.asked.append(request)
        if self.is_dead:
            raise StreamEndedError(EndReason.TIMEOUT)
        if request.name == "rebound.example":
            return Resolved(0, tuple(ResourceRecord(request.qtype, 60, rdata) for rdata in REBOUND))
        if request.name != "host.example":
            return Resolved(3)
        return Resolved(0, (ResourceRecord(request.qtype, 60, b"\xc0\x00\x02\x01"),))

    async def open_stream(self, target: Target, isolation: str, early: bytes = b"") -> Stream:
        raise StreamEndedError(EndReason.REFUSED)


def asked(
    ask: Callable[[NameServer, Upstream], Coroutine[Any, Any, None]], servers: list[str] | None = None
) -> list[tuple[str, list[str], int]]:
    """Run a scenario with a name server; give what it learnt."""
    learnt: list[tuple[str, list[str], int]] = []

    async def learn(name: str, addresses: list[str], ttl: int) -> None:
        learnt.append((name, addresses, ttl))

    async def scenario() -> None:
        upstream = Upstream()
        names = NameServer(
            upstream, SystemClock(), "", learn, lambda: servers or [],
            is_carried=lambda address: address not in REBOUND[:2],
        )  # fmt: skip
        names.start()
        try:
            async with asyncio.timeout(60):
                await ask(names, upstream)
        finally:
            await names.close()

    asyncio.run(scenario())
    return learnt


async def by_udp(port: int, query: bytes, host: str = "127.0.0.1") -> dns.message.Message:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect((host, port))
        sock.send(query)
        return dns.message.from_wire(await loop.sock_recv(sock, 4096))


async def by_tcp(port: int, query: bytes) -> dns.message.Message:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(len(query).to_bytes(2, "big") + query)
    size = int.from_bytes(await reader.readexactly(2), "big")
    answer = dns.message.from_wire(await reader.readexactly(size))
    writer.close()
    await writer.wait_closed()
    return answer


QUERY = dns.message.make_query("host.example", "A")


def test_overlay_mode_asks_the_exit_and_remembers_the_name() -> None:
    async def ask(names: NameServer, upstream: Upstream) -> None:
        names.mode = DnsMode.OVERLAY
        for answer in (await by_udp(names.port, QUERY.to_wire()), await by_tcp(names.port, QUERY.to_wire())):
            assert QUERY.is_response(answer)
            assert answer.answer[0].to_text() == "host.example. 60 IN A 192.0.2.1"
        assert names.memory.name_of("192.0.2.1", SystemClock().now()) == "host.example"
        missing = await by_udp(names.port, dns.message.make_query("none.example", "A").to_wire(), "::1")
        assert missing.rcode() == dns.rcode.NXDOMAIN

    assert asked(ask) == [("host.example", ["192.0.2.1"], 60)] * 2


def test_an_overlay_that_is_dead_is_told_at_once_and_local_names_never_leave() -> None:
    async def ask(names: NameServer, upstream: Upstream) -> None:
        names.mode = DnsMode.OVERLAY
        upstream.is_dead = True
        assert (await by_udp(names.port, QUERY.to_wire())).rcode() == dns.rcode.SERVFAIL
        before = len(upstream.asked)
        here = await by_udp(names.port, dns.message.make_query("localhost", "A").to_wire())
        assert here.answer[0].to_text() == "localhost. 3600 IN A 127.0.0.1"
        assert (
            await by_udp(names.port, dns.message.make_query("printer", "A").to_wire())
        ).rcode() == dns.rcode.NXDOMAIN
        assert len(upstream.asked) == before
        assert names.failed == 1

    asked(ask)


def test_an_exit_leads_nobody_to_this_machine_or_the_network_before_it() -> None:
    """A page would else reach what listens on loopback, or a printer, under its own name."""

    async def ask(names: NameServer, upstream: Upstream) -> None:
        names.mode = DnsMode.OVERLAY
        answer = await by_udp(names.port, dns.message.make_query("rebound.example", "A").to_wire())
        assert [rrset.to_text() for rrset in answer.answer] == ["rebound.example. 60 IN A 192.0.2.1"]
        assert names.memory.name_of("127.0.0.1", SystemClock().now()) == ""

    assert asked(ask) == [("rebound.example", ["192.0.2.1"], 60)]


@pytest.mark.parametrize(("address", "is_told"), [("192.0.2.1", True), ("127.0.0.1", False)])
def test_nor_does_a_server_that_is_asked_through_one(
    monkeypatch: pytest.MonkeyPatch, address: str, is_told: bool
) -> None:
    told = dns.message.make_response(QUERY)
    told.answer.append(dns.rrset.from_text("host.example.", 30, "IN", "CNAME", "other.example."))
    told.answer.append(dns.rrset.from_text("other.example.", 30, "IN", "A", address))

    async def by_custom(self: NameServer, octets: bytes) -> bytes:
        return octets[:2] + told.to_wire()[2:]

    monkeypatch.setattr(NameServer, "_ask_custom", by_custom)

    async def ask(names: NameServer, upstream: Upstream) -> None:
        names.mode = DnsMode.CUSTOM
        answer = await by_udp(names.port, QUERY.to_wire())
        assert answer.rcode() == dns.rcode.NOERROR
        assert bool(answer.answer) == is_told

    asked(ask)


@pytest.mark.parametrize("mode", [DnsMode.OVERLAY, DnsMode.CUSTOM])
def test_no_exit_says_where_an_excluded_name_is(monkeypatch: pytest.MonkeyPatch, mode: DnsMode) -> None:
    """By the address of a host of its own, reached directly, it would learn whose circuit that is."""
    told = dns.message.make_response(QUERY)
    told.answer.append(dns.rrset.from_text("host.example.", 30, "IN", "A", "192.0.2.7"))

    async def by_system(self: NameServer, octets: bytes, *, is_tcp: bool) -> bytes:
        return octets[:2] + told.to_wire()[2:]

    monkeypatch.setattr(NameServer, "_ask_system", by_system)

    async def ask(names: NameServer, upstream: Upstream) -> None:
        names.mode = mode
        monkeypatch.setattr(names, "_is_direct", lambda name: name == "host.example")
        answer = await by_udp(names.port, QUERY.to_wire())
        assert [rrset.to_text() for rrset in answer.answer] == ["host.example. 30 IN A 192.0.2.7"]
        assert not upstream.asked

    assert asked(ask) == [("host.example", ["192.0.2.7"], 30)]


def test_an_answer_to_another_question_teaches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    other = dns.message.make_response(dns.message.make_query("excluded.example", "A"))
    other.answer.append(dns.rrset.from_text("excluded.example.", 30, "IN", "A", "192.0.2.1"))

    async def by_custom(self: NameServer, octets: bytes) -> bytes:
        return octets[:2] + other.to_wire()[2:]

    monkeypatch.setattr(NameServer, "_ask_custom", by_custom)

    async def ask(names: NameServer, upstream: Upstream) -> None:
        names.mode = DnsMode.CUSTOM
        await by_udp(names.port, QUERY.to_wire())

    assert asked(ask) == []


def test_what_is_no_question_is_refused() -> None:
    async def ask(names: NameServer, upstream: Upstream) -> None:
        assert (await by_udp(names.port, b"\x12\x34" + bytes(20))).rcode() == dns.rcode.FORMERR

    asked(ask)


def test_custom_mode_says_when_its_server_is_not_reached() -> None:
    async def ask(names: NameServer, upstream: Upstream) -> None:
        names.mode, names.custom = DnsMode.CUSTOM, ("192.0.2.53", 53)
        assert (await by_udp(names.port, QUERY.to_wire())).rcode() == dns.rcode.SERVFAIL

    asked(ask)


def test_local_mode_asks_the_systems_servers_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = dns.message.make_response(QUERY)
    answer.answer.append(dns.rrset.from_text("host.example.", 30, "IN", "A", "192.0.2.7"))
    tried: list[tuple[str, bool]] = []

    async def by_one(self: NameServer, server: str, octets: bytes, is_tcp: bool) -> bytes:
        tried.append((server, is_tcp))
        if server == "192.0.2.1":
            raise OSError
        return octets[:2] + answer.to_wire()[2:]

    monkeypatch.setattr(NameServer, "_ask_by_udp", lambda self, s, o: by_one(self, s, o, False))
    monkeypatch.setattr(NameServer, "_ask_by_tcp", lambda self, s, o: by_one(self, s, o, True))

    async def ask(names: NameServer, upstream: Upstream) -> None:
        for got in (await by_udp(names.port, QUERY.to_wire()), await by_tcp(names.port, QUERY.to_wire())):
            assert got.id == QUERY.id
            assert got.answer[0][0].to_text() == "192.0.2.7"
        assert await names.system_addresses("host.example") == ["192.0.2.7"] * 2
        names.mode = DnsMode.OVERLAY
        names.ask_here("host.example", 60)  # a sign-in page's name
        assert (await by_udp(names.port, QUERY.to_wire())).answer[0][0].to_text() == "192.0.2.7"
        assert not upstream.asked

    learnt = asked(ask, ["192.0.2.1", "192.0.2.2"])
    assert tried[:4] == [("192.0.2.1", False), ("192.0.2.2", False), ("192.0.2.1", True), ("192.0.2.2", True)]
    assert learnt[0] == ("host.example", ["192.0.2.7"], 30)


def test_without_any_server_the_asker_hears_it() -> None:
    async def ask(names: NameServer, upstream: Upstream) -> None:
        assert (await by_udp(names.port, QUERY.to_wire())).rcode() == dns.rcode.SERVFAIL

    asked(ask)


class NetworkWithNat64:
    """What the name servers of a network with a NAT64 say of AAAA."""

    def __init__(self, *, has_nat64: bool = True) -> None:
        self.asked: list[str] = []
        self._addresses = {"v4.example.": "2001:db8:64::c000:201", "v6.example.": "2001:db8::1"}
        if has_nat64:
            self._addresses["ipv4only.arpa."] = "2001:db8:64::c000:aa"

    def by_udp(self, octets: bytes) -> bytes:
        question = dns.message.from_wire(octets)
        name = question.question[0].name.to_text()
        self.asked.append(name)
        answer = dns.message.make_response(question)
        if name in self._addresses:
            answer.answer.append(dns.rrset.from_text(name, 30, "IN", "AAAA", self._addresses[name]))
        return answer.to_wire()

    def ask(self, monkeypatch: pytest.MonkeyPatch, *asked_for: str, direct: str = "") -> list[list[str]]:
        """Return what an application is told of each name."""
        told: list[list[str]] = []

        async def answer(names: NameServer, server: str, octets: bytes) -> bytes:
            return self.by_udp(octets)

        monkeypatch.setattr(NameServer, "_ask_by_udp", answer)

        async def ask(names: NameServer, _: Upstream) -> None:
            names._is_direct = lambda name: name == direct
            for name in asked_for:
                said = await by_udp(names.port, dns.message.make_query(name, "AAAA").to_wire())
                assert said.rcode() == dns.rcode.NOERROR
                told.append([record.to_text() for rrset in said.answer for record in rrset])

        asked(ask, ["192.0.2.1"])
        return told


def test_addresses_that_the_networks_nat64_makes_are_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exit has no such NAT64; without them the application takes the IPv4 address."""
    network = NetworkWithNat64()
    told = network.ask(monkeypatch, "v4.example", "v6.example", "v4.example", "ipv4only.arpa")
    assert told == [[], ["2001:db8::1"], [], []]
    assert network.asked.count("ipv4only.arpa.") == 2, "the prefix is kept; the second was the application's"


def test_they_are_told_of_names_that_are_reached_around_the_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    told = NetworkWithNat64().ask(monkeypatch, "v4.example", direct="v4.example")
    assert told == [["2001:db8:64::c000:201"]]


def test_a_network_without_nat64_is_asked_for_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network = NetworkWithNat64(has_nat64=False)
    assert network.ask(monkeypatch, "v6.example", "v6.example") == [["2001:db8::1"]] * 2
    assert network.asked.count("ipv4only.arpa.") == 1
