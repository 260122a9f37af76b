"""What the link room and the circuit room say to each other.

Downwards the link *pulls*: a circuit that has something to send is activated once, and the link's
scheduler asks it for frames when the carrier can take them, quiet circuits first. So nothing is
sealed long before it is sent and no queue lies inside the link. Upwards the link delivers every
run of a frame in place, then says once that the batch has ended.
"""

from typing import Protocol


class RunSource(Protocol):
    """One direction of one circuit, as the link's scheduler sees it."""

    def pull(self, now: float) -> memoryview | None:
        """Return the next frame view (see `traffic.cell`), or None if there is nothing to send now.

        After None the scheduler forgets the source until it is activated again. The frame view's
        run is complete; the link fills frame header, type and tag and owns the view from then on.
        """
        ...


class RunReceiver(Protocol):
    """Takes what comes from one link."""

    def run_received(self, buffer: memoryview, at: int, cells: int) -> None:
        """One run lies at buffer[at : at + 2048*cells], header included; it may be overwritten.

        The octets are valid only during the call. `cells` was checked to be 1 or 7.

        Raises:
            RemoteProtocolError: the neighbour itself broke the rules; the link is closed.
        """
        ...

    def link_closed(self) -> None:
        """The link is gone; nothing follows."""
        ...


class LinkPort(Protocol):
    """One open link, as the circuit room sees it."""

    @property
    def peer(self) -> bytes | None:
        """The neighbour's identity key, 32 octets; None for a client that gave none."""
        ...

    @property
    def origin(self) -> str:
        """Stands for the neighbour where limits count: its identity, or an anonymous one's address prefix."""
        ...

    @property
    def is_initiator(self) -> bool:
        """Whether we dialled; the initiator picks circuit ids with the top bit set."""
        ...

    def activate(self, source: RunSource) -> None:
        """`source` has something to send; cheap to call again while it is active."""
        ...

    def send_control(self, frame: memoryview) -> None:
        """Send one frame view (CREATE, CREATED, DESTROY) before every circuit's data."""
        ...

    def set_receiver(self, receiver: RunReceiver) -> None:
        """Deliver received runs to `receiver` from now on."""
        ...

    def close(self) -> None:
        """Close the link in good order."""
        ...
