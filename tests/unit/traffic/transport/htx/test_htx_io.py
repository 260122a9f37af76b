"""Dialling and listening together, with a real nginx behind."""

import asyncio
import contextlib
import errno
import os
import signal
import socket
import struct
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey

from tests.support.hellos import NAMES, captured, read_hello, template_of
from tests.support.htx import PARAMS, HtxRelay, Peer, ShiftedClock, browser, htx_relay
from tests.support.modern_server import modern_server
from tests.support.needs import needs_programs
from tests.support.origins import Certificates, make_certificates, nginx, s_server
from tests.support.waiting import pause, wait_until
from vigilnet.base.clock import SystemClock
from vigilnet.traffic.link.wire import PacketKind, encode_packet
from vigilnet.traffic.transport.carrier import Carrier, CarrierKind, ClosingCarrier, KemCarrier
from vigilnet.traffic.transport.htx import server_io
from vigilnet.traffic.transport.htx.carrier_io import HtxCarrier
from vigilnet.traffic.transport.htx.fingerprint import ja4, normalised
from vigilnet.traffic.transport.htx.htx_io import HtxTransport
from vigilnet.traffic.transport.htx.templates_io import bundled_templates

pytestmark = [pytest.mark.slow, needs_programs("nginx", "openssl")]

HELLO = encode_packet(PacketKind.HELLO, b"h" * 1300)
MESSAGE_2 = encode_packet(PacketKind.MESSAGE_2, b"2" * 1160)
MESSAGE_3 = encode_packet(PacketKind.MESSAGE_3, b"3" * 64)
FRAME = b"\x17\x03\x03\x00\x20" + bytes(32)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("origin"))


@pytest.fixture(scope="module")
def origin(certificates: Certificates) -> Iterator[int]:
    with nginx(certificates.folder) as port:
        yield port


@pytest.mark.slow
@pytest.mark.parametrize(("name", "host"), [*((each, "127.0.0.1") for each in NAMES), ("chromium", "::1")])
def test_a_link_s_octets_pass_behind_a_real_handshake(
    origin: int, certificates: Certificates, name: str, host: str
) -> None:
    async def scenario() -> None:
        async with htx_relay(origin, host=host) as relay:
            for _ in range(2):  # the second knows how many records the origin sends
                transport = HtxTransport(browser(certificates, name))
                client = Peer(await transport.dial(host, relay.port, PARAMS))
                assert client.carrier.kind is CarrierKind.HTX_OWN_SITE
                assert client.carrier.has_tls_records
                client.carrier.write([HELLO])
                served = Peer(await asyncio.wait_for(relay.accepted.get(), 60))
                assert served.carrier.binding == client.carrier.binding != bytes(32)
                assert shown_kem(served.carrier) == shown_kem(client.carrier)
                assert shown_kem(served.carrier) == shown_kem(client.carrier) == b""  # once
                assert await served.wait_octets(len(HELLO)) == HELLO
                served.carrier.write([MESSAGE_2])
                assert await client.wait_octets(len(MESSAGE_2)) == MESSAGE_2
                client.carrier.write([MESSAGE_3, FRAME, FRAME])
                wanted = MESSAGE_3 + FRAME * 2
                assert await served.wait_octets(len(wanted)) == wanted
                for sender, receiver in ((client, served), (served, client)):
                    large = FRAME * 20_000
                    sender.carrier.write([large])
                    assert await receiver.wait_octets(len(large)) == large
                served.carrier.write([FRAME])
                served.carrier.close()
                await client.wait(lambda peer=client: peer.is_closed)  # type: ignore[misc]
                assert client.received[: len(FRAME)] == FRAME
                assert client.received[len(FRAME) :][:5] == b"\x17\3\3\0\x13"
                assert len(client.received) == len(FRAME) + 24
                client.carrier.close()
                await served.wait(lambda peer=served: peer.is_closed)  # type: ignore[misc]
                assert not served.received  # a browser says nothing in turn
            assert relay.listener.switched == 2
            assert relay.listener.flight == 3  # two tickets and SETTINGS with its WINDOW_UPDATE
            assert relay.listener.spliced == 0

    asyncio.run(scenario())


def test_a_finished_leaves_right_before_the_first_record(origin: int, certificates: Certificates) -> None:
    async def scenario() -> None:
        async with htx_relay(origin) as relay:
            for says_something in (True, False):
                carrier = await HtxTransport(browser(certificates)).dial("127.0.0.1", relay.port, PARAMS)
                assert isinstance(carrier, HtxCarrier)
                written: list[bytes] = []
                write = carrier._tcp.write
                carrier._tcp.write = lambda parts, to=written, real=write: to.extend(parts) or real(parts)  # type: ignore[misc,method-assign]
                assert not written
                client = Peer(carrier)
                if says_something:
                    carrier.write([HELLO])
                    assert [len(part) for part in written][1:] == [5 + 16 + 3 + len(HELLO)]
                    served = Peer(await relay.accepted.get())
                    served.carrier.close()
                else:
                    carrier.close()
                assert written[0][:6] == b"\x14\3\3\0\1\1"  # change cipher spec, then Finished
                assert written[0][6:9] == b"\x17\3\3"
                await client.wait(lambda peer=client: peer.is_closed)  # type: ignore[misc]
                carrier.close()

    asyncio.run(scenario())


async def answered(relay: HtxRelay, certificates: Certificates) -> tuple[Peer, Peer]:
    """Dial; return both ends when the first message of each has gone over."""
    transport = HtxTransport(browser(certificates))
    client = Peer(await transport.dial("127.0.0.1", relay.port, PARAMS))
    client.carrier.write([HELLO])
    served = Peer(await relay.accepted.get())
    served.carrier.write([MESSAGE_2])
    await client.wait_octets(len(MESSAGE_2))
    return client, served


def test_a_client_closes_as_a_browser_and_a_relay_as_its_server(
    origin: int, certificates: Certificates
) -> None:
    """Chromium ends with a FIN, and nginx has no answer; nginx ends with GOAWAY's 34 octets and 19 more."""

    async def scenario() -> None:
        async with htx_relay(origin) as relay:
            ends = []
            for _ in range(2):
                client, served = await answered(relay, certificates)
                client.carrier.write([MESSAGE_3])
                await served.wait_octets(len(HELLO) + len(MESSAGE_3))
                ends += [client, served]
            (client, served, second, second_served) = ends
            assert isinstance(client.carrier, ClosingCarrier)
            assert isinstance(served.carrier, ClosingCarrier)
            assert [client.carrier.close_length, served.carrier.close_length] == [0, 34]
            client.carrier.close()
            await served.wait(lambda: served.is_closed)
            served.carrier.close()
            await client.wait(lambda: client.is_closed)
            assert [len(client.received), len(served.received)] == [0, 0]
            second_served.carrier.close()
            await second.wait(lambda: second.is_closed)
            second.carrier.close()
            await second_served.wait(lambda: second_served.is_closed)
            assert [len(second.received), len(second_served.received)] == [5 + 19, 0]

    asyncio.run(scenario())


def shown_kem(carrier: Carrier) -> bytes:
    """The ML-KEM key of the hello, as either end has it; empty for templates without one."""
    assert isinstance(carrier, KemCarrier)
    kem = carrier.take_kem()
    if kem is None:
        return b""
    return (kem.public_key() if isinstance(kem, MLKEM768PrivateKey) else kem).public_bytes_raw()


def test_a_dial_waits_for_nothing_but_the_origin(
    origin: int, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the first one waits for time to pass: it learns how many records the origin's first flight has."""

    async def scenario() -> None:
        async with htx_relay(origin) as relay:
            for at in range(5):
                if at:
                    monkeypatch.setattr(server_io, "FLIGHT_WAIT_S", 3600)
                client, served = await answered(relay, certificates)
                client.carrier.close()
                served.carrier.close()
                await client.wait(lambda peer=client: peer.is_closed)  # type: ignore[misc]
                await served.wait(lambda peer=served: peer.is_closed)  # type: ignore[misc]

    asyncio.run(scenario())


async def fails(transport: HtxTransport, port: int, params: dict[int, object]) -> str:
    """Dial and say hello; return how it failed."""
    try:
        peer = Peer(await transport.dial("127.0.0.1", port, params))
    except OSError as error:
        return str(error)
    peer.carrier.write([HELLO])
    await peer.wait(lambda: peer.is_closed)
    return "closed"


def test_who_is_not_authentic_meets_the_origin(origin: int, certificates: Certificates) -> None:
    async def scenario() -> None:
        async with htx_relay(origin) as relay, htx_relay(origin, invites=[b"i" * 32]) as unlisted:
            plain = HtxTransport(browser(certificates))
            late = HtxTransport(browser(certificates, clock=ShiftedClock(-200)))
            other = {**PARAMS, 0: os.urandom(32)}
            assert await fails(late, relay.port, dict(PARAMS)) == "closed"
            assert await fails(plain, relay.port, other) == "closed"
            assert await fails(plain, unlisted.port, dict(PARAMS)) == "closed"
            assert relay.listener.switched == unlisted.listener.switched == 0
            assert relay.accepted.empty()

    asyncio.run(scenario())


async def link_packets(transport: HtxTransport, relay: HtxRelay) -> None:
    """Dial and exchange a link's first two packets."""
    client = Peer(await transport.dial("127.0.0.1", relay.port, PARAMS))
    client.carrier.write([HELLO])
    served = Peer(await asyncio.wait_for(relay.accepted.get(), 60))
    served.carrier.write([MESSAGE_2])
    assert await client.wait_octets(len(MESSAGE_2)) == MESSAGE_2
    served.carrier.close()
    client.carrier.close()
    await client.wait(lambda: client.is_closed)


@pytest.mark.parametrize("shift", [-86_400 * 0.5, 7200])
def test_a_wrong_clock_is_set_right_by_the_origin_s(
    origin: int, certificates: Certificates, shift: float
) -> None:
    """The first try meets the origin; before the second, its page is fetched and its Date believed."""

    async def scenario() -> None:
        async with htx_relay(origin) as relay:
            transport = HtxTransport(browser(certificates, clock=ShiftedClock(shift)))
            assert await fails(transport, relay.port, dict(PARAMS)) == "closed"
            for _ in range(2):
                await link_packets(transport, relay)
            assert relay.listener.switched == 2

    asyncio.run(scenario())


def test_who_is_not_known_twice_waits(origin: int, certificates: Certificates) -> None:
    """No series of handshakes with one record each: after the second there is a pause of a minute."""

    async def scenario() -> None:
        async with htx_relay(origin, invites=[b"i" * 32]) as relay:
            transport = HtxTransport(browser(certificates))
            assert await fails(transport, relay.port, dict(PARAMS)) == "closed"
            assert await fails(transport, relay.port, dict(PARAMS)) == "closed"
            assert "waiting" in await fails(transport, relay.port, dict(PARAMS))

    asyncio.run(scenario())


def test_an_invite_opens_an_unlisted_relay(origin: int, certificates: Certificates) -> None:
    async def scenario() -> None:
        async with htx_relay(origin, invites=[b"o" * 32, b"i" * 32]) as relay:
            key = PARAMS[0]
            held = HtxTransport(browser(certificates), invite_for={key: b"i" * 32}.get)
            await link_packets(held, relay)
            wrong = HtxTransport(browser(certificates), invite_for={key: b"w" * 32}.get)
            assert await fails(wrong, relay.port, dict(PARAMS)) == "closed"

    asyncio.run(scenario())


def test_another_issuer_sees_a_visitor_who_reads_a_page_and_goes(
    certificates: Certificates, tmp_path: Path
) -> None:
    """Whoever stands in between with a certificate that the client trusts gets nothing of ours."""
    log = tmp_path / "access.log"

    async def scenario(port: int) -> None:
        async with htx_relay(port) as relay:
            transport = HtxTransport(browser(certificates))
            assert "another issuer" in await fails(transport, relay.port, {**PARAMS, 3: bytes(32)})
            assert transport.relays.count_intercepted(SystemClock().now()) == 1
            assert "waiting" in await fails(transport, relay.port, {**PARAMS, 3: bytes(32)})
            assert relay.listener.switched == 0
            assert relay.accepted.empty()

    with nginx(certificates.folder, f"access_log {log};") as port:
        asyncio.run(scenario(port))
        wait_until(log.read_text, "nginx's log")
    (line,) = log.read_text().splitlines()
    assert '"GET / HTTP/2.0" 200' in line
    assert "Chrome/" in line


def test_an_origin_that_changes_its_protocol_is_left(certificates: Certificates) -> None:
    """Calibrated at the first dial; what does not fit later fails closed."""

    async def scenario(first: int, second: int) -> None:
        async with htx_relay(first) as relay:
            transport = HtxTransport(browser(certificates))
            await link_packets(transport, relay)
            relay.listener.origin = (socket.AF_INET, ("127.0.0.1", second))
            assert "another protocol" in await fails(transport, relay.port, dict(PARAMS))

    with nginx(certificates.folder) as first, modern_server(certificates.folder) as second:
        asyncio.run(scenario(first, second.port))


def test_a_dial_that_cannot_work_says_why(origin: int, certificates: Certificates) -> None:
    async def scenario() -> None:
        async with htx_relay(origin) as relay:
            transport = HtxTransport(browser(certificates))
            for change, reason in (
                ({1: "other.example.test"}, "not trusted"),
                ({0: b"short"}, "no key"),
                ({1: ""}, "no host name"),
                ({2: 7}, "mode 7"),
                ({3: b"x"}, "no digest"),
            ):
                assert reason in await fails(transport, relay.port, {**PARAMS, **change})
        assert "Errno 111" in await fails(transport, relay.port, dict(PARAMS))

    asyncio.run(scenario())


def test_an_origin_that_asks_for_another_hello_carries_links(certificates: Certificates) -> None:
    async def scenario(origin: int) -> None:
        async with htx_relay(origin) as relay:
            for name in ("chromium", "firefox", "curl"):
                await link_packets(HtxTransport(browser(certificates, name)), relay)
            assert relay.listener.switched == 3

    with s_server(certificates.folder, "-groups", "P-384", "-www", "-tls1_3") as (port, _):
        asyncio.run(scenario(port))


def test_an_origin_of_tls_1_2_is_reported(certificates: Certificates) -> None:
    async def scenario(origin: int) -> None:
        async with htx_relay(origin) as relay:
            transport = HtxTransport(browser(certificates))
            assert "chose version" in await fails(transport, relay.port, dict(PARAMS))

    with s_server(certificates.folder, "-www", "-tls1_2") as (port, _):
        asyncio.run(scenario(port))


def test_a_relay_without_its_origin_refuses_like_it(certificates: Certificates) -> None:
    async def scenario() -> None:
        async with htx_relay(1) as relay:
            transport = HtxTransport(browser(certificates))
            said = (await fails(transport, relay.port, dict(PARAMS))).lower()
            assert "reset" in said or f"errno {errno.ECONNRESET}" in said  # behind the handshake, or in it
            assert relay.listener.origin_failures == 1

    asyncio.run(scenario())


def test_a_hello_is_good_for_one_connection(origin: int, certificates: Certificates) -> None:
    """Whoever records a client's octets and sends them again gets the origin."""

    async def scenario() -> None:
        async with htx_relay(origin) as relay:
            sent = bytearray()

            async def tap(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                there, back = await asyncio.open_connection("127.0.0.1", relay.port)

                async def pass_on(
                    source: asyncio.StreamReader, to: asyncio.StreamWriter, *, keep: bool
                ) -> None:
                    while data := await source.read(65_536):
                        if keep:
                            sent.extend(data)
                        to.write(data)
                    to.close()

                await asyncio.gather(pass_on(reader, back, keep=True), pass_on(there, writer, keep=False))

            server = await asyncio.start_server(tap, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            client = Peer(await HtxTransport(browser(certificates)).dial("127.0.0.1", port, PARAMS))
            client.carrier.write([HELLO])
            served = Peer(await relay.accepted.get())
            await served.wait_octets(len(HELLO))
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
            writer.write(sent)
            answer = await asyncio.wait_for(reader.read(), 60)
            assert answer[:3] == b"\x16\3\3"  # the origin's server hello, then its alert
            writer.close()
            assert relay.listener.switched == 1
            client.carrier.close()
            served.carrier.close()
            await client.wait(lambda: client.is_closed)
            await served.wait(lambda: served.is_closed)
            server.close()
            await asyncio.sleep(0.05)

    asyncio.run(scenario())


WIRESHARK_DOUBTS = (
    "_ws.malformed || _ws.expert.severity >= error || tls.ignored_unknown_record || tls.alert_message"
)


def dissect(capture: Path, port: int, display: str, *fields: str) -> list[list[str]]:
    """Return what tshark says of the packets that match."""
    command = ["tshark", "-r", str(capture), "-d", f"tcp.port=={port},tls", "-Y", display, "-T", "fields"]
    for field in fields:
        command += ["-e", field]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [line.split("\t") for line in done.stdout.splitlines()]


@contextlib.contextmanager
def capturing(port: int, file: Path) -> Iterator[None]:
    """Capture loopback's traffic of one port while the block runs."""
    command = ["tshark", "-q", "-i", "lo", "-f", f"tcp port {port}", "-w", str(file)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as tshark:
        assert tshark.stderr is not None
        while b"Capturing" not in tshark.stderr.readline():
            assert tshark.poll() is None
        empty = file.stat().st_size if file.exists() else 0

        def is_awake() -> bool:
            touch(port)
            return file.exists() and file.stat().st_size > empty

        wait_until(is_awake, "the first packets")
        yield
        wait_for_rest(file)
        tshark.send_signal(signal.SIGINT)


def touch(port: int) -> None:
    """Send a packet to a port of loopback that leaves nothing behind."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", port))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def wait_for_rest(file: Path) -> None:
    """Wait until a file has not grown for a second."""
    size, quiet = -1, 0
    while quiet < 10:
        quiet = quiet + 1 if file.stat().st_size == size else 0
        size = file.stat().st_size
        pause(0.1)


@pytest.mark.slow
@needs_programs("tshark")
def test_three_hundred_connections_look_like_five_browsers(
    origin: int, certificates: Certificates, tmp_path: Path
) -> None:
    """On the wire: every hello equals its program's, TLS 1.3 without a doubt of tshark's, no name of ours."""
    file = tmp_path / "wire.pcapng"
    relay_port = 0

    async def connect(transport: HtxTransport, port: int, accepted: "asyncio.Queue[Carrier]") -> None:
        client = Peer(await transport.dial("127.0.0.1", port, PARAMS))
        client.carrier.write([HELLO])
        served = Peer(await accepted.get())
        served.carrier.write([MESSAGE_2])
        await client.wait_octets(len(MESSAGE_2))
        client.carrier.write([MESSAGE_3, FRAME])
        await served.wait_octets(len(HELLO) + len(MESSAGE_3) + len(FRAME))
        served.carrier.close()
        await client.wait(lambda: client.is_closed)
        client.carrier.close()
        await served.wait(lambda: served.is_closed)

    async def scenario() -> None:
        nonlocal relay_port
        async with htx_relay(origin) as relay:
            relay_port = relay.port
            with capturing(relay.port, file):
                transport = HtxTransport(replace(browser(certificates), templates=bundled_templates()))
                for _ in range(300):
                    await connect(transport, relay.port, relay.accepted)

    asyncio.run(scenario())
    hellos = dissect(file, relay_port, "tls.handshake.type == 1", "tcp.reassembled.data", "tcp.payload")
    assert len(hellos) == 300
    templates = {ja4(captured(name)[0][1]): name for name in NAMES}
    seen = Counter[str]()
    for reassembled, payload in hellos:
        _, hello = read_hello(bytes.fromhex(reassembled or payload))
        name = templates[ja4(hello)]
        seen[name] += 1
        template, (_, real) = template_of(name), captured(name)[0]
        wanted = normalised(real, template) | {"length": None}
        assert normalised(hello, template) | {"length": None} == wanted
    print(f"seen: {dict(seen)}")  # noqa: T201 the figures, with pytest -s
    assert set(seen) == set(NAMES)
    versions = dissect(
        file, relay_port, "tls.handshake.type == 2", "tls.handshake.extensions.supported_version"
    )
    assert [row[0] for row in versions] == ["0x0304"] * 300
    doubts = dissect(file, relay_port, WIRESHARK_DOUBTS, "frame.number", "_ws.expert.message")
    assert not doubts, doubts[:5]
    octets = file.read_bytes()
    assert b"vigilnet" not in octets.lower()
    assert b"h" * 40 not in octets  # of the link's packets
