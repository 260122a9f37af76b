"""The open links of a node: which of them is used for a neighbour, and when a replaced one ends (sans-IO)."""

from typing import Final, Generic, Protocol, TypeVar

from vigilnet.traffic.link.machine import CloseReason

# Our choice.
AT_ONCE_S: Final = 10.0  # two links of opposite direction this close were dialled at once
MAX_RETIRED: Final = 2  # replaced links to one neighbour
UNUSED_S: Final = 10.0  # a replaced link that carried nothing
UNSPOKEN_S: Final = 600.0  # a replaced link on which we sent nothing for so long


class OpenLink(Protocol):
    """What the table asks of a link."""

    peer: bytes | None
    opened_at: float | None
    retired_at: float | None
    octets_sent: int
    octets_received_total: int

    @property
    def is_initiator(self) -> bool:
        """Whether we dialled."""
        ...

    @property
    def spoke_at(self) -> float:
        """When runs were last sent; minus infinity if never."""
        ...

    def probe(self) -> None:
        """Ask for a sign of life at once."""
        ...

    def retire(self, now: float) -> None:
        """Take nothing new."""
        ...

    def close(self, reason: CloseReason = CloseReason.DONE) -> None:
        """Close in good order."""
        ...


_L = TypeVar("_L", bound=OpenLink)


class LinkTable(Generic[_L]):
    """Every open link.

    Args:
        own_identity: None for an anonymous client.
    """

    def __init__(self, own_identity: bytes | None) -> None:
        self._own_identity = own_identity
        self.neighbours: dict[bytes, _L] = {}  # the link to use
        self.others: set[_L] = set()  # of anonymous clients, and replaced ones
        self._carried = (0, 0)  # octets in and out over links that are gone

    def all(self) -> list[_L]:
        """Return every link."""
        return [*self.neighbours.values(), *self.others]

    def carried(self) -> tuple[int, int]:
        """Return octets received and sent over all links, also those that are gone."""
        received, sent = self._carried
        links = self.all()
        return (
            received + sum(link.octets_received_total for link in links),
            sent + sum(link.octets_sent for link in links),
        )

    def add(self, link: _L, now: float) -> bool:
        """Decide which link to this neighbour is used from now on; return whether it is this one."""
        if link.peer is None:
            self.others.add(link)
            return False
        present = self.neighbours.get(link.peer)
        loser = None if present is None else self._loser(present, link, now)
        if loser is not link:
            self.neighbours[link.peer] = link
        if loser is not None:
            self.others.add(loser)
            loser.retire(now)
            self._close_oldest_retired(link.peer)
        return loser is not link

    def remove(self, link: _L) -> bool:
        """A link is gone; return whether it was the one to use."""
        received, sent = self._carried
        self._carried = (received + link.octets_received_total, sent + link.octets_sent)
        self.others.discard(link)
        if link.peer is None or self.neighbours.get(link.peer) is not link:
            return False
        del self.neighbours[link.peer]
        return True

    def drain(self, now: float, drain_s: float) -> None:
        """Close replaced links that carry nothing any more, and after `drain_s` all of them."""
        for link in list(self.others):
            if link.retired_at is None:
                continue
            unused = link.spoke_at < 0 and now - link.retired_at >= UNUSED_S
            if unused or now - max(link.spoke_at, link.retired_at) >= UNSPOKEN_S:
                link.close(CloseReason.IDLE)
            elif now - link.retired_at >= drain_s:
                link.close(CloseReason.DONE)

    def _loser(self, present: _L, newcomer: _L, now: float) -> _L:
        """Return which of two links to one neighbour is replaced; both ends decide alike.

        Dialled at once by both: the one whose initiator has the smaller identity stays. Otherwise the
        newcomer stays, for then the other end (or we) had a reason to dial: it may have lost the old one.
        """
        own = self._own_identity
        at_once = present.opened_at is not None and now - present.opened_at < AT_ONCE_S
        if at_once and present.is_initiator != newcomer.is_initiator and own and newcomer.peer:
            ours_stays = own < newcomer.peer
            return newcomer if newcomer.is_initiator != ours_stays else present
        present.probe()
        return present

    def _close_oldest_retired(self, peer: bytes) -> None:
        """Bound what a neighbour that dials again and again can make us keep."""
        retired = [link for link in self.others if link.peer == peer]
        if len(retired) > MAX_RETIRED:
            min(retired, key=lambda link: link.retired_at or 0.0).close()
