import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import dns.rcode
import pytest

from tests.support.edge_network import OPEN_EXIT, DirectNetwork
from tests.support.edge_servers import (
    counting_listener,
    dead_port,
    dns_server,
    echo_server,
    tcp_server,
    udp_echo,
)
from tests.support.forbidden_targets import FORBIDDEN_HOSTS
from tests.support.ports import free_port
from vigilnet.base.errors import ConfigurationError
from vigilnet.traffic.exit import dial_io, service
from vigilnet.traffic.exit.datagrams_io import ExitFlow
from vigilnet.traffic.exit.options import Options
from vigilnet.traffic.stream.datagrams import DatagramFlow
from vigilnet.traffic.stream.messages import ANY_FAMILY, BeginFlag, Resolve, ResourceRecord, Target
from vigilnet.traffic.stream.stream import Stream, StreamEndedError
from vigilnet.traffic.stream.wire import EndReason

HAS_IPV6 = (
    Path("/proc/net/if_inet6").exists()
    and "00000000000000000000000000000001" in Path("/proc/net/if_inet6").read_text()
)


class Reader:
    """A client's end of a stream: gathers what comes."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.octets = b""
        self.is_ended = False
        self.reason: EndReason | None = None
        self._changed = asyncio.Event()
        stream.set_consumer(self)

    def connected(self, address: str, ttl: int) -> None:
        self.address, self.ttl = address, ttl

    def data_received(self, data: memoryview) -> None:
        self.octets += data
        self.stream.consumed(len(data))
        self._changed.set()

    def eof_received(self) -> None:
        self.is_ended = True
        self._changed.set()

    def stream_closed(self, reason: EndReason) -> None:
        self.reason = reason
        self._changed.set()

    def writable(self) -> None:
        pass

    async def wait(self, condition: Callable[["Reader"], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition(self):
                self._changed.clear()
                await self._changed.wait()


class Receiver:
    """A client's end of a datagram flow."""

    def __init__(self, flow: DatagramFlow) -> None:
        self.queue: asyncio.Queue[tuple[str, int, bytes]] = asyncio.Queue()
        self.closed: asyncio.Future[EndReason] = asyncio.get_running_loop().create_future()
        flow.set_consumer(self)

    def flow_connected(self) -> None:
        pass

    def datagram_received(self, host: str, port: int, payload: bytes) -> None:
        self.queue.put_nowait((host, port, payload))

    def flow_closed(self, reason: EndReason) -> None:
        self.closed.set_result(reason)


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 60))


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what is watched has no event
            await asyncio.sleep(0.001)


async def end_of(network: DirectNetwork, host: str, port: int, flags: int = ANY_FAMILY) -> EndReason | None:
    try:
        (await network.open_stream(Target(host, port, flags=flags), "")).close()
    except StreamEndedError as error:
        return error.reason
    return None


def test_a_target_is_reached_and_octets_go_both_ways() -> None:
    async def scenario() -> None:
        async with echo_server() as port, DirectNetwork() as network:
            stream = await network.open_stream(Target("127.0.0.1", port), "", b"early ")
            reader = Reader(stream)
            assert (reader.address, reader.ttl) == ("127.0.0.1", 0)
            stream.write(b"late")
            stream.write_eof()
            await reader.wait(lambda reader: reader.reason is not None)
            assert reader.octets == b"early late"
            assert network.exit.snapshot().accepted == 1
            await asyncio.sleep(0)
            assert network.exit.snapshot().open_streams == 0

    run(scenario())


def test_half_close_reaches_the_target_and_its_answer_comes_back_after_it() -> None:
    async def scenario() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            sent = await reader.read()
            writer.write(b"%d octets, then end" % len(sent))
            writer.close()

        async with tcp_server(serve) as port, DirectNetwork() as network:
            stream = await network.open_stream(Target("127.0.0.1", port), "")
            reader = Reader(stream)
            stream.write(b"x" * 100_000)
            stream.write_eof()
            await reader.wait(lambda reader: reader.reason is not None)
            assert reader.octets == b"100000 octets, then end"

    run(scenario())


def test_each_failure_has_its_reason() -> None:
    async def scenario() -> None:
        async with dns_server(answers={("empty.example", "TXT"): [["x"]]}) as dns_:
            options = Options(
                enabled=True,
                policy="open",
                rules=("reject 127.0.0.9:*",),
                allow_private_targets=True,
                resolvers=(f"127.0.0.1:{dns_.port}",),
            )
            async with DirectNetwork(options) as network:
                port = free_port()
                assert await end_of(network, "127.0.0.1", port) is EndReason.REFUSED
                assert await end_of(network, "127.0.0.9", port) is EndReason.POLICY
                assert await end_of(network, "127.0.0.1", 25) is EndReason.POLICY
                assert await end_of(network, "none.example", port) is EndReason.RESOLVE_FAILED
                assert await end_of(network, "empty.example", port) is EndReason.RESOLVE_FAILED
                # No address of the family that the client allows:
                assert await end_of(network, "127.0.0.1", port, BeginFlag.IPV6_OK) is EndReason.NO_ROUTE
                # The class of addresses that no kernel routes:
                assert await end_of(network, "240.0.0.1", port) is EndReason.POLICY
                assert network.exit.snapshot().refused == 4

    run(scenario())


def test_an_exit_that_is_not_enabled_refuses_everything() -> None:
    async def scenario() -> None:
        async with echo_server() as port, DirectNetwork(Options(allow_private_targets=True)) as network:
            assert await end_of(network, "127.0.0.1", port) is EndReason.POLICY
            assert (await network.resolve(Resolve("example.com", 1), "")).rcode == 5
            with pytest.raises(StreamEndedError) as refusal:
                await network.open_datagrams("")
            assert refusal.value.reason is EndReason.POLICY

    run(scenario())


def test_number_of_streams_is_limited() -> None:
    async def scenario() -> None:
        options = Options(enabled=True, policy="open", allow_private_targets=True, max_streams=2)
        async with echo_server() as port, DirectNetwork(options) as network:
            first = await network.open_stream(Target("127.0.0.1", port), "")
            second = Reader(await network.open_stream(Target("127.0.0.1", port), ""))
            assert await end_of(network, "127.0.0.1", port) is EndReason.LIMIT
            reader = Reader(first)
            first.write_eof()
            await reader.wait(lambda reader: reader.reason is not None)
            await until(lambda: network.exit.snapshot().open_streams <= 1)
            assert await end_of(network, "127.0.0.1", port) is None
            second.stream.close()

    run(scenario())


def local_addresses() -> list[str]:
    """Addresses of this machine that spellings in the table could reach."""
    found = ["127.0.0.1", "127.0.0.2", "127.1.2.3", "127.255.255.254", "::1"]
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        found.append(probe.getsockname()[0])
    return found


def test_no_forbidden_spelling_makes_one_connection() -> None:
    async def scenario() -> None:
        hosts = local_addresses()
        async with counting_listener(hosts) as listener, dns_server() as dns_:
            options = Options(
                enabled=True,
                policy="none",
                rules=("accept *:*",),
                resolvers=(f"127.0.0.1:{dns_.port}",),
            )
            async with DirectNetwork(options) as network:
                for host in [*FORBIDDEN_HOSTS, *hosts]:
                    stream = Recorder()
                    # Past the circuit's own check of the text, as a hostile client's exit would see it.
                    network.exit.begin(stream, _unchecked(host, listener.port))  # type: ignore[arg-type]
                    assert stream.closed in (EndReason.POLICY, EndReason.RESOLVE_FAILED), host
                await asyncio.sleep(0.05)
            assert listener.connections == 0
            assert dns_.asked == []

    run(scenario())


class Recorder:
    """As much of a stream as an exit needs to refuse it."""

    closed: EndReason | None = None

    def close(self, reason: EndReason) -> None:
        self.closed = reason


def _unchecked(host: str, port: int) -> Target:
    target = Target("x.example", port)
    object.__setattr__(target, "host", host)
    return target


def test_own_public_addresses_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        options = Options(enabled=True, policy="open", own_addresses=("93.184.216.34",))
        async with DirectNetwork(options) as network:
            assert await end_of(network, "93.184.216.34", 80) is EndReason.POLICY
            monkeypatch.setattr(service, "is_own_address", lambda address: address == ip_address("8.8.8.8"))
            assert await end_of(network, "8.8.8.8", 80) is EndReason.POLICY

    run(scenario())


def test_a_name_is_dialled_at_the_address_that_was_judged_even_if_dns_changes_its_mind() -> None:
    async def scenario() -> None:
        async with (
            counting_listener(["127.0.0.1"]) as forbidden,
            dns_server(
                answers={
                    # first a harmless address, then (and again for AAAA) one of ours
                    ("rebind.example", "A"): [["240.0.0.1"], ["127.0.0.1"]],
                    ("rebind.example", "AAAA"): [[], ["::1"]],
                    ("inside.example", "A"): [["127.0.0.1", "10.0.0.1", "169.254.169.254"]],
                    ("inside.example", "AAAA"): [["::1", "::ffff:127.0.0.1", "fd00::1"]],
                }
            ) as dns_,
        ):
            options = Options(
                enabled=True, policy="none", rules=("accept *:*",), resolvers=(f"127.0.0.1:{dns_.port}",)
            )
            async with DirectNetwork(options) as network:
                for name in ("inside.example", "rebind.example", "rebind.example"):
                    assert await end_of(network, name, forbidden.port) is EndReason.POLICY
                # TTL 1 is held to 60 s: the second stream did not ask again
                assert dns_.asked.count(("rebind.example", "A")) == 1
            assert forbidden.connections == 0

    run(scenario())


def test_of_several_addresses_only_the_allowed_one_is_dialled() -> None:
    async def scenario() -> None:
        async with (
            echo_server("127.0.0.1") as port,
            dns_server(
                answers={("two.example", "A"): [["127.0.0.2", "127.0.0.1"]], ("two.example", "AAAA"): [[]]},
                ttl=90,
            ) as dns_,
        ):
            options = Options(
                enabled=True,
                policy="open",
                rules=("reject 127.0.0.2:*",),
                allow_private_targets=True,
                resolvers=(f"127.0.0.1:{dns_.port}",),
            )
            async with DirectNetwork(options) as network:
                reader = Reader(await network.open_stream(Target("two.example", port), ""))
                assert (reader.address, reader.ttl) == ("127.0.0.1", 90)
                reader.stream.close()

    run(scenario())


@pytest.mark.skipif(not HAS_IPV6, reason="no IPv6 on loopback")
def test_a_name_with_dead_ipv6_is_reached_over_ipv4_soon() -> None:
    async def scenario() -> None:
        answers = {("both.example", "A"): [["127.0.0.1"]], ("both.example", "AAAA"): [["::1"]]}
        async with echo_server() as port, dns_server(answers=answers) as dns_:
            options = Options(
                enabled=True, policy="open", allow_private_targets=True, resolvers=(f"127.0.0.1:{dns_.port}",)
            )
            with dead_port("::1", port):
                async with DirectNetwork(options) as network:
                    flags = ANY_FAMILY | BeginFlag.PREFER_IPV6
                    stream = await network.open_stream(Target("both.example", port, flags=flags), "")
                    reader = Reader(stream)
                    assert reader.address == "127.0.0.1"
                    stream.close()

    run(scenario())


@pytest.mark.slow
def test_dead_dns_is_told_after_its_timeout() -> None:
    async def scenario() -> None:
        async with dns_server(is_silent=True) as dns_:
            options = Options(
                enabled=True, policy="open", resolvers=(f"127.0.0.1:{dns_.port}",), resolve_timeout_s=0.3
            )
            async with DirectNetwork(options) as network:
                loop = asyncio.get_running_loop()
                start = loop.time()
                assert await end_of(network, "dead.example", 80) is EndReason.RESOLVE_FAILED
                assert loop.time() - start > 0.25
                assert 2 <= len(dns_.asked) <= 16  # both families, a few tries each

    run(scenario())


def test_hosts_file_and_localhost_are_names_in_test_networks_only(tmp_path: Path) -> None:
    async def scenario() -> None:
        hosts = tmp_path / "hosts"
        hosts.write_text("127.0.0.1 target.testnet other # comment\nbad line.testnet\n")
        async with echo_server() as port:
            async with DirectNetwork(OPEN_EXIT, hosts_file=hosts) as network:
                assert await end_of(network, "target.testnet", port) is None
                assert await end_of(network, "localhost", port) is None
                assert await end_of(network, "x.localhost", port) is None
            async with DirectNetwork(Options(enabled=True, policy="open"), hosts_file=hosts) as network:
                assert await end_of(network, "localhost", port) is EndReason.POLICY

    run(scenario())


def test_a_dial_is_given_up_when_its_client_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(service, "SWEEP_S", 0.01)
        with dead_port() as port:
            async with DirectNetwork() as network:
                loop = asyncio.get_running_loop()
                opening = loop.create_task(network.open_stream(Target("127.0.0.1", port), ""))
                await until(lambda: network.exit.snapshot().dialling)
                opening.cancel()
                await until(lambda: not network.exit.snapshot().dialling)

    run(scenario())


def test_a_target_that_does_not_answer_times_out() -> None:
    async def scenario() -> None:
        options = Options(enabled=True, policy="open", allow_private_targets=True, connect_timeout_s=0.2)
        with dead_port() as port:
            async with DirectNetwork(options) as network:
                assert await end_of(network, "127.0.0.1", port) is EndReason.TIMEOUT

    run(scenario())


# ---- RESOLVE


def test_records_of_many_types_are_resolved_uncompressed() -> None:
    async def scenario() -> None:
        answers = {
            ("many.example", "A"): [["93.184.216.34"]],
            ("many.example", "AAAA"): [["2606:4700::1"]],
            ("many.example", "MX"): [["10 mail.many.example."]],
            ("many.example", "TXT"): [['"hello" "world"']],
            ("many.example", "SRV"): [["1 2 443 s.many.example."]],
            ("many.example", "NS"): [["ns.many.example."]],
            ("many.example", "CNAME"): [["alias.example."]],
            ("many.example", "CAA"): [['0 issue "ca.example"']],
            ("many.example", "SOA"): [["ns.many.example. me.many.example. 1 2 3 4 5"]],
            ("many.example", "HTTPS"): [['1 . alpn="h2"']],
            ("34.216.184.93.in-addr.arpa", "PTR"): [["many.example."]],
        }
        async with dns_server(answers=answers, ttl=7200) as dns_:
            options = Options(enabled=True, resolvers=(f"127.0.0.1:{dns_.port}",))
            async with DirectNetwork(options) as network:

                async def records(name: str, kind: int) -> tuple[ResourceRecord, ...]:
                    resolved = await network.resolve(Resolve(name, kind), "")
                    assert resolved.rcode == 0
                    return resolved.records

                (a,) = await records("many.example", 1)
                assert a == ResourceRecord(1, 3600, ip_address("93.184.216.34").packed)
                (aaaa,) = await records("many.example", 28)
                assert aaaa.rdata == ip_address("2606:4700::1").packed
                (mx,) = await records("many.example", 15)
                assert mx.rdata == b"\x00\x0a\x04mail\x04many\x07example\x00"
                (txt,) = await records("many.example", 16)
                assert txt.rdata == b"\x05hello\x05world"
                (ptr,) = await records("34.216.184.93.in-addr.arpa", 12)
                assert ptr.rdata == b"\x04many\x07example\x00"
                for kind in (2, 5, 6, 33, 65, 257):
                    (record,) = await records("many.example", kind)
                    assert record.type == kind
                assert await records("many.example", 64) == ()  # no such type
                assert (await network.resolve(Resolve("nothing.example", 1), "")).rcode == 3
                assert (await network.resolve(Resolve("many.example", 255), "")).rcode == 4
                assert (await network.resolve(Resolve("many.example", 252), "")).rcode == 4

    run(scenario())


def test_names_and_addresses_of_local_networks_are_not_resolved() -> None:
    async def scenario() -> None:
        answers = {
            ("inside.example", "A"): [["10.0.0.1", "93.184.216.34"]],
            ("inside.example", "AAAA"): [["fd00::1"]],
            ("1.0.0.10.in-addr.arpa", "PTR"): [["printer.lan."]],
        }
        async with dns_server(answers=answers) as dns_:
            resolvers = (f"127.0.0.1:{dns_.port}",)
            async with DirectNetwork(Options(enabled=True, resolvers=resolvers)) as network:
                for name in (
                    "printer.local",
                    "router",
                    "1.0.0.10.in-addr.arpa",
                    "x.ip6.arpa",
                ):
                    assert (await network.resolve(Resolve(name, 12), "")).rcode == 5
                assert dns_.asked == []
                resolved = await network.resolve(Resolve("inside.example", 1), "")
                assert [record.rdata for record in resolved.records] == [ip_address("93.184.216.34").packed]
                assert (await network.resolve(Resolve("inside.example", 28), "")).records == ()
            options = Options(enabled=True, resolvers=resolvers, allow_private_targets=True)
            async with DirectNetwork(options) as network:
                assert len((await network.resolve(Resolve("inside.example", 1), "")).records) == 2
                assert len((await network.resolve(Resolve("1.0.0.10.in-addr.arpa", 12), "")).records) == 1

    run(scenario())


def test_broken_dns_is_a_server_failure_and_is_not_remembered() -> None:
    async def scenario() -> None:
        async with dns_server(answers={("x.example", "A"): [["93.184.216.34"]]}) as dns_:
            options = Options(enabled=True, resolvers=(f"127.0.0.1:{dns_.port}",))
            async with DirectNetwork(options) as network:
                dns_.rcode = dns.rcode.SERVFAIL
                assert (await network.resolve(Resolve("x.example", 1), "")).rcode == 2
                dns_.rcode = None
                assert (await network.resolve(Resolve("x.example", 1), "")).rcode == 0

    run(scenario())


# ---- datagrams


def test_datagrams_are_echoed_and_strangers_are_not_heard() -> None:
    async def scenario() -> None:
        async with udp_echo() as port, DirectNetwork() as network:
            flow = await network.open_datagrams("")
            receiver = Receiver(flow)
            assert flow.send("127.0.0.1", port, b"hello")
            assert await receiver.queue.get() == ("127.0.0.1", port, b"hello")
            (served,) = network.exit._flows
            assert isinstance(served, ExitFlow)
            ours = served._sockets[4].getsockname()[1]
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                stranger.sendto(b"spam", ("127.0.0.1", ours))
            assert flow.send("127.0.0.1", port, b"again")
            assert (await receiver.queue.get())[2] == b"again"
            assert receiver.queue.empty()
            flow.close()
            await until(lambda: not network.exit.snapshot().datagram_flows)

    run(scenario())


@pytest.mark.skipif(not HAS_IPV6, reason="no IPv6 on loopback")
def test_datagrams_over_ipv6() -> None:
    async def scenario() -> None:
        async with udp_echo("::1") as port, DirectNetwork() as network:
            flow = await network.open_datagrams("")
            receiver = Receiver(flow)
            assert flow.send("::1", port, b"hello")
            assert await receiver.queue.get() == ("::1", port, b"hello")

    run(scenario())


def test_each_datagram_is_judged() -> None:
    async def scenario() -> None:
        async with udp_echo() as port:
            options = Options(
                enabled=True, policy="open", rules=("reject 127.0.0.9:*",), allow_private_targets=True
            )
            async with DirectNetwork(options) as network:
                flow = await network.open_datagrams("")
                receiver = Receiver(flow)
                for host, to in (
                    ("127.0.0.9", port),
                    ("127.0.0.1", 25),
                    ("224.0.0.1", port),
                    ("127.0.0.1", port),
                ):
                    assert flow.send(host, to, host.encode())
                assert await receiver.queue.get() == ("127.0.0.1", port, b"127.0.0.1")
                (served,) = network.exit._flows
                assert isinstance(served, ExitFlow)
                assert served.refused == 3
                assert len(served._ends) == 1

    run(scenario())


def test_datagrams_to_local_addresses_are_dropped() -> None:
    async def scenario() -> None:
        async with udp_echo() as port, DirectNetwork(Options(enabled=True, policy="open")) as network:
            flow = await network.open_datagrams("")
            for host in ("127.0.0.1", "::1", "10.0.0.1", "169.254.169.254", "::ffff:7f00:1"):
                flow.send(host, port, b"x")
            (served,) = network.exit._flows
            assert isinstance(served, ExitFlow)
            await until(lambda: served.refused >= 5)
            assert served._sockets == {}

    run(scenario())


def test_rate_and_number_of_flows_are_limited() -> None:
    async def scenario() -> None:
        options = Options(
            enabled=True, policy="open", allow_private_targets=True, max_datagram_flows=1, datagram_rate=1000
        )
        async with udp_echo() as port, DirectNetwork(options) as network:
            flow = await network.open_datagrams("")
            receiver = Receiver(flow)
            for _ in range(3):
                flow.send("127.0.0.1", port, bytes(400))
            (served,) = network.exit._flows
            assert isinstance(served, ExitFlow)
            await until(lambda: served.refused >= 1)
            assert served.sent == 800
            assert len((await receiver.queue.get())[2]) == 400
            with pytest.raises(StreamEndedError) as refusal:
                await network.open_datagrams("")
            assert refusal.value.reason is EndReason.LIMIT

    run(scenario())


def test_idle_flows_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(service, "SWEEP_S", 0.01)
        options = Options(enabled=True, policy="open", allow_private_targets=True, datagram_idle_s=0.1)
        async with DirectNetwork(options) as network:
            receiver = Receiver(await network.open_datagrams(""))
            assert await receiver.closed is EndReason.TIMEOUT

    run(scenario())


def test_closing_ends_dials_flows_and_later_requests() -> None:
    async def scenario() -> None:
        async with dns_server(is_silent=True) as dns_:
            options = Options(enabled=True, policy="open", resolvers=(f"127.0.0.1:{dns_.port}",))
            async with DirectNetwork(options) as network:
                receiver = Receiver(await network.open_datagrams(""))
                loop = asyncio.get_running_loop()
                opening = loop.create_task(end_of(network, "slow.example", 80))
                await until(lambda: dns_.asked)
                await network.exit.close()
                assert await opening is EndReason.CLOSING
                assert await receiver.closed is EndReason.CLOSING
                assert await end_of(network, "93.184.216.34", 80) is EndReason.POLICY

    run(scenario())


@pytest.mark.parametrize(
    "wrong",
    [
        {"policy": "wed"},
        {"rules": ("accept everything",)},
        {"connect_timeout_s": 0},
        {"max_streams": 0},
    ],
)
def test_wrong_options_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Options(**wrong)


@pytest.mark.parametrize("wrong", [{"own_addresses": ("me",)}, {"resolvers": ("dns.example",)}])
def test_wrong_addresses_in_options_are_named(wrong: dict[str, Any]) -> None:
    async def scenario() -> None:
        with pytest.raises(ConfigurationError):
            DirectNetwork(Options(**wrong))

    run(scenario())


def test_this_machines_addresses_are_its_own() -> None:
    assert dial_io.is_own_address(ip_address("127.0.0.1"))
    assert not dial_io.is_own_address(ip_address("192.0.2.1"))
