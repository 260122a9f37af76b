"""Making a link over a connection: what dialling and accepting share."""

import asyncio
from collections.abc import Callable

from vigilnet.base.clock import Clock
from vigilnet.traffic.link.handshake import Channel, Initiator, Responder
from vigilnet.traffic.link.link_io import Link, LinkKeeper, ReceiveBuffer
from vigilnet.traffic.link.machine import LinkMachine
from vigilnet.traffic.link.options import Options
from vigilnet.traffic.transport.carrier import Carrier, KemCarrier


class LinkOpener:
    """Begins links of one node; all of them share a buffer.

    Args:
        keeper: hears of their opening and closing.
        options: the room's settings.
        clock: the time.
        network: the private network's name.
        random_bytes: source of secrets.
    """

    def __init__(
        self,
        keeper: LinkKeeper,
        options: Options,
        clock: Clock,
        network: str,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._keeper = keeper
        self._options = options
        self._clock = clock
        self._network = network
        self._random_bytes = random_bytes
        self._buffer = ReceiveBuffer()
        self.loop = asyncio.get_running_loop()

    def new_link(self, carrier: Carrier, *, is_initiator: bool) -> Link:
        """Return a link that has not begun."""
        return Link(
            carrier, self._keeper, self._clock, self._options, self._buffer, is_initiator=is_initiator
        )

    def channel(self, carrier: Carrier) -> Channel:
        """Return what the handshake binds itself to."""
        kem = carrier.take_kem() if isinstance(carrier, KemCarrier) else None
        return Channel(carrier.kind, carrier.binding, self._network, kem)

    def start(self, link: Link, handshake: Initiator | Responder, carrier: Carrier) -> None:
        """Begin the handshake."""
        machine = LinkMachine(
            handshake,
            link,
            self._options,
            has_tls_records=carrier.has_tls_records,
            random_bytes=self._random_bytes,
            now=self._clock.now(),
        )
        link.start(machine)
