"""Accepting links: admission before any work, and how many anonymous clients one address may have."""

from collections import Counter
from collections.abc import Callable

from vigilnet.base.clock import Clock
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.link.admission import Admission, Ticket
from vigilnet.traffic.link.dial_io import LinkUnavailableError
from vigilnet.traffic.link.handshake import HandshakeResult, Responder
from vigilnet.traffic.link.link_io import Link
from vigilnet.traffic.link.neighbours import RELAY_BIT, LinkRecord, LocalNode
from vigilnet.traffic.link.opening_io import LinkOpener
from vigilnet.traffic.link.options import Options
from vigilnet.traffic.transport.carrier import Carrier


class LinkAcceptor:
    """Lets others open links to a node that has an identity.

    Args:
        opener: begins links.
        options: the room's settings.
        clock: the time.
        local: who we are.
        admit: as of `LinkService`.
        admission: what to do under load.
    """

    def __init__(
        self,
        opener: LinkOpener,
        options: Options,
        clock: Clock,
        local: LocalNode,
        admit: Callable[[bytes, str], LinkRecord],
        admission: Admission,
    ) -> None:
        self._opener = opener
        self._options = options
        self._clock = clock
        self._local = local
        self._admit = admit
        self.admission = admission
        self.accepted: dict[Link, Ticket] = {}  # also unfinished
        self.clients: Counter[bytes] = Counter()  # open links of anonymous ones, by address prefix
        self.is_closed = False

    def accept(self, carrier: Carrier) -> None:
        """Let a neighbour open a link over a connection."""
        if self.is_closed:
            carrier.close()
            return
        now = self._clock.now()
        link = self._opener.new_link(carrier, is_initiator=False)
        refused = LinkUnavailableError("link: given up for newcomers, too many handshakes are under way")
        ticket = self.admission.enter(carrier.remote_host, now, lambda: link.fail(refused))
        if ticket is None:
            carrier.close()
            return
        self.accepted[link] = ticket
        local = self._local
        handshake = Responder(
            local.identity,
            local.link_key,
            channel=self._opener.channel(carrier),
            admission=self.admission,
            ticket=ticket,
            admit=lambda encoded: self._admit(encoded, carrier.remote_host),
            wall_minus_now=self._clock.wall() - now,
            previous_key=local.previous_link_key,
            allow_classical=self._options.allow_classical,
        )
        self._opener.start(link, handshake, carrier)

    def opened(self, link: Link, result: HandshakeResult) -> None:
        """A handshake is through, maybe one of ours.

        Raises:
            RemoteProtocolError: one client too many.
        """
        ticket = self.accepted.get(link)
        if ticket is None:
            return
        self.admission.leave(ticket)
        if result.record is not None:
            link.is_relay = bool(result.record.capabilities & RELAY_BIT)
        if result.peer is not None:
            return
        clients = self.clients[ticket.prefix]
        if clients >= self._options.max_client_links_per_prefix:
            raise RemoteProtocolError(f"link: already {clients} clients of one address prefix")

    def client_joined(self, link: Link) -> None:
        """The link of an anonymous client is open."""
        self.clients[self.accepted[link].prefix] += 1

    def closed(self, link: Link, *, was_client: bool) -> None:
        """A link is gone, whoever opened it; `was_client`: it had joined as one."""
        ticket = self.accepted.pop(link, None)
        if ticket is None:
            return
        self.admission.leave(ticket)
        if was_client:
            self.clients[ticket.prefix] -= 1
            if not self.clients[ticket.prefix]:
                del self.clients[ticket.prefix]
