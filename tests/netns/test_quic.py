"""QUIC beside TCP: what the wire shows, and falling back where UDP is dropped (LNK-16).

one namespace, loopback:  client ── udp 443 or tcp 4001 ── relay
"""

import asyncio
import os
import time
from dataclasses import replace

import pytest

from tests.support.links import TCP, FakeAddress, FakeLocal, FakeRecord
from tests.support.needs import needs_programs
from tests.support.netns import Lab
from tests.support.waiting import held
from vigilnet.base.clock import SystemClock
from vigilnet.traffic.link.options import Options
from vigilnet.traffic.link.service import LinkService
from vigilnet.traffic.transport.carrier import CarrierKind, Transport
from vigilnet.traffic.transport.quic.certificate import make_certificate
from vigilnet.traffic.transport.quic.quic_io import QuicTransport
from vigilnet.traffic.transport.tcp_io import TcpTransport

pytestmark = [pytest.mark.netns, needs_programs("nft")]
QUIC = 3
RELAY = FakeLocal(b"relay".ljust(32))
DROP = (
    "add table inet t; add chain inet t in { type filter hook input priority 0; }; "
    "add rule inet t in udp dport 443 drop"
)


def service(
    transports: dict[int, Transport], records: dict[bytes, FakeRecord], *, is_relay: bool
) -> LinkService:
    return LinkService(
        Options(allow_private_addresses=True),
        SystemClock(),
        transports,
        records,
        local=RELAY if is_relay else None,
        admit=lambda encoded, host: FakeRecord.admit(encoded),
        network="",
        random_bytes=os.urandom,
    )


async def dial() -> tuple[CarrierKind, float]:
    """Let a client that prefers QUIC dial a relay that has both; return what carries it, and how soon."""
    certificate = make_certificate("relay.example", time.time())
    params = {0: certificate.digest, 1: "relay.example"}
    addresses = (FakeAddress(QUIC, "127.0.0.1", 443, params), FakeAddress(TCP, "127.0.0.1", 4001))
    record = replace(RELAY.public, addresses=addresses)
    relay = service({QUIC: QuicTransport(certificate), TCP: TcpTransport()}, {}, is_relay=True)
    records = {RELAY.identity: record}
    client = service({QUIC: QuicTransport(), TCP: TcpTransport()}, records, is_relay=False)
    try:
        await relay.listen("127.0.0.1", 443, QUIC)
        await relay.listen("127.0.0.1", 4001, TCP)
        began = time.monotonic()
        link = await client.connect(RELAY.identity)
        return link._carrier.kind, time.monotonic() - began
    finally:
        await client.close()
        await relay.close()
        await asyncio.sleep(0.3)


@pytest.mark.parametrize("is_dropped", [False, True])
def test_udp_443_carries_the_link_and_where_it_is_dropped_tcp_does_within_2_s(is_dropped: bool) -> None:
    with Lab() as lab:
        host = lab.namespace("host")
        if is_dropped:
            host.run("nft", DROP)
        with host.entered():
            kind, took = asyncio.run(dial())
    assert kind is (CarrierKind.PLAIN if is_dropped else CarrierKind.QUIC)
    assert took < held(2.0)
