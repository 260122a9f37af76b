"""Two link services joined by HTX on loopback, with a real origin behind the relay."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from tests.support.htx import PARAMS, SECRET, browser
from tests.support.links import FakeAddress, FakeLocal, FakeRecord, Gatherer
from tests.support.origins import Certificates
from vigilnet.base.clock import SystemClock
from vigilnet.peer.address import prefix_of
from vigilnet.traffic.link.link_io import Link
from vigilnet.traffic.link.options import Options
from vigilnet.traffic.link.ports import LinkPort
from vigilnet.traffic.link.service import LinkService
from vigilnet.traffic.transport.carrier import CarrierKind, Transport
from vigilnet.traffic.transport.htx.authenticator import Authenticator
from vigilnet.traffic.transport.htx.htx_io import HtxTransport
from vigilnet.traffic.transport.htx.options import Options as HtxOptions
from vigilnet.traffic.transport.htx.server_io import Relay
from vigilnet.traffic.transport.htx.shaping import Profile

HTX = 2
IDENTITY = b"shaped relay".ljust(32, b".")


@dataclass
class ShapedPair:
    """Both ends of one link; a receiver for each link that a side ever had."""

    client: LinkService
    relay: LinkService
    client_receivers: list[Gatherer] = field(default_factory=list)
    relay_receivers: list[Gatherer] = field(default_factory=list)

    @property
    def link(self) -> Link:
        link = self.client.get(IDENTITY)
        assert link is not None
        return link

    @property
    def relay_port(self) -> LinkPort:
        port = self.relay_receivers[-1].port
        assert port is not None
        return port


async def settled(is_true: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(seconds):
        while not is_true():  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.002)


@asynccontextmanager
async def shaped_pair(
    origin: int,
    certificates: Certificates,
    profile: Profile,
    *,
    rate: int = 64 * 1024,
    host: str = "127.0.0.1",
) -> AsyncIterator[ShapedPair]:
    """Open a link of this profile."""
    clock, options = SystemClock(), Options(allow_private_addresses=True)
    local = FakeLocal(IDENTITY)
    behind = Relay(
        authenticator=Authenticator(lambda: (SECRET,), ""),
        origin=("127.0.0.1", origin),
        kind=CarrierKind.HTX_OWN_SITE,
        options=HtxOptions(constant_octets_s=rate),
        clock=clock,
        network="",
        random_bytes=os.urandom,
        prefix_of=prefix_of,
    )
    dials = replace(browser(certificates), profile=profile, rate=rate)
    records: dict[bytes, FakeRecord] = {}

    def service(transport: Transport, own: FakeLocal | None) -> LinkService:
        return LinkService(
            options,
            clock,
            {HTX: transport},
            records,
            local=own,
            admit=lambda encoded, host: FakeRecord.admit(encoded),
            network="",
            random_bytes=os.urandom,
        )

    pair = ShapedPair(service(HtxTransport(dials), None), service(HtxTransport(dials, behind), local))
    listener = await pair.relay.listen(host, 0, HTX)
    address = FakeAddress(HTX, host, listener.port, PARAMS)
    records[IDENTITY] = replace(local.public, addresses=(address,))

    def keep(receivers: list[Gatherer]) -> Callable[[LinkPort], Gatherer]:
        def receiver(port: LinkPort) -> Gatherer:
            receivers.append(Gatherer(port))
            return receivers[-1]

        return receiver

    pair.client.on_link, pair.relay.on_link = keep(pair.client_receivers), keep(pair.relay_receivers)
    try:
        await pair.client.connect(IDENTITY)
        await settled(lambda: pair.relay_receivers)
        yield pair
    finally:
        await pair.client.close()
        await pair.relay.close()
        await asyncio.sleep(0)
