"""The Protocol that every transport serves: how a link's octets travel to one neighbour.

A carrier is one established, ordered, reliable octet pipe (a TCP connection, an HTX session,
a QUIC stream, two queues in memory). It knows nothing of frames. Everything is called from the
event loop's thread; nothing here waits except `Transport.dial`.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from types import MappingProxyType
from typing import Final, Protocol, runtime_checkable

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey

NO_PARAMS: Final[Mapping[int, object]] = MappingProxyType({})


class CarrierKind(IntEnum):
    """What carries the link, as it enters the link handshake's prologue."""

    PLAIN = 0  # memory, tcp
    HTX_BORROWED = 1
    HTX_OWN_SITE = 2
    QUIC = 3
    PLUGGABLE = 4
    BLUETOOTH = 5
    SHADOWSOCKS = 6


class CarrierUser(Protocol):
    """What a carrier calls; the link serves it."""

    def receive_buffer(self) -> memoryview:
        """Return where the carrier may put received octets next; never empty."""
        ...

    def octets_received(self, count: int) -> None:
        """`count` octets were put at the start of the buffer last returned by `receive_buffer`."""
        ...

    def carrier_writable(self) -> None:
        """The carrier takes octets again after `write` said that it was full."""
        ...

    def carrier_closed(self, error: OSError | None) -> None:
        """The other end closed, or the carrier broke; called once, also after our own `close`."""
        ...


class Carrier(Protocol):
    """One established octet pipe to a neighbour."""

    @property
    def kind(self) -> CarrierKind:
        """What kind of carrier this is."""
        ...

    @property
    def binding(self) -> bytes:
        """32 octets that tie the link's handshake to this carrier's own; zeros where there is none."""
        ...

    @property
    def has_tls_records(self) -> bool:
        """Whether link frames take the TLS record header (`17 03 03 length`) instead of the plain one."""
        ...

    @property
    def remote_host(self) -> str:
        """The neighbour's address as text, for limits per prefix; sensitive, never logged as it is."""
        ...

    def start(self, user: CarrierUser) -> None:
        """Begin to deliver received octets to `user`."""
        ...

    def write(self, parts: Sequence[memoryview | bytes]) -> bool:
        """Send `parts` in order; what the system does not take now is kept and sent later.

        Returns:
            Whether more may be written now. After False, wait for `carrier_writable`.
        """
        ...

    def close(self) -> None:
        """Send what was written, then close; safe to call twice."""
        ...


class RecordShaper(Protocol):
    """Decides when a record leaves and how long it is."""

    other_waits: bool
    """Whether the other end said that it has more to send."""

    is_extra: bool
    """Whether the record last asked for is beside the plan that the other end counts."""

    @property
    def name(self) -> str:
        """The profile's."""
        ...

    @property
    def cost(self) -> tuple[int, float]:
        """Octets sent that carried nothing, and the longest that something waited, in seconds."""
        ...

    @property
    def is_free(self) -> bool:
        """Whether a small record may leave by itself, beside the plan."""
        ...

    @property
    def has_plan(self) -> bool:
        """Whether octets of a plan wait for the other end's shaper."""
        ...

    def take_plan(self, room: int) -> bytes:
        """Return up to `room` of these octets."""
        ...

    def plan_received(self, octets: bytes | memoryview) -> None:
        """Octets of a plan came; raises RemoteProtocolError."""
        ...

    def received(self, planned: int, now: float) -> None:
        """So many records came that count."""
        ...

    def extra_received(self, length: int, now: float) -> None:
        """A record beside the plan came."""
        ...

    def next_record(self, now: float, waiting: int) -> int:
        """Return the length of the record to send now, header not counted; 0 for none yet."""
        ...

    def may_stream(self, now: float) -> bool:
        """Whether any number of full records, beside the plan, may leave now."""
        ...

    def streamed(self, records: int, carried: int, now: float) -> None:
        """So many full records left, and carried so many octets."""
        ...

    def rest(self, octets: int, now: float) -> int:
        """Return the length of the record that takes these octets, before full ones; it leaves now."""
        ...

    def deadline(self) -> float | None:
        """When to ask again though nothing happens."""
        ...


@runtime_checkable
class ShapedCarrier(Protocol):
    """A carrier on which records have sizes and times of their own."""

    def is_shaped(self) -> bool:
        """Whether it does so on this connection."""
        ...

    def ease_reads(self) -> None:
        """Full records stream in, each by itself: they may wake us together."""
        ...

    def take_shaper(self) -> RecordShaper | None:
        """Return what decides, once the link's last handshake packet has left; None before.

        From then on the link asks it, and writes one record at a time.
        """
        ...


@runtime_checkable
class ClosingCarrier(Protocol):
    """A carrier on which also the end of a link looks like something else's."""

    @property
    def close_length(self) -> int:
        """Length of the record that says the link's CLOSE; 0: none does, and what waits is left unsaid."""
        ...


@runtime_checkable
class KemCarrier(Protocol):
    """A carrier on which the initiator has shown an ML-KEM-768 key that the binding covers."""

    def take_kem(self) -> MLKEM768PrivateKey | MLKEM768PublicKey | None:
        """Return it once: its private half at the initiator; None if there is none."""
        ...


@runtime_checkable
class OpenCarrier(Protocol):
    """A carrier whose two ends are plain to see, so that another connection can be dialled beside it."""

    @property
    def open_ends(self) -> tuple[tuple[str, int], tuple[str, int]] | None:
        """Our and the neighbour's host and port; None if that is not so now."""
        ...


class Listener(Protocol):
    """A place where neighbours can reach us."""

    @property
    def port(self) -> int:
        """The port really bound."""
        ...

    def close(self) -> None:
        """Stop accepting; carriers already accepted live on."""
        ...


class Transport(Protocol):
    """Makes carriers, by dialling or by listening."""

    async def dial(self, host: str, port: int, params: Mapping[int, object]) -> Carrier:
        """Connect to a neighbour; raises OSError when it cannot be reached.

        Args:
            host: address or name.
            port: port.
            params: the transport's own parameters from the neighbour's record.
        """
        ...

    async def listen(self, host: str, port: int, accept: Callable[[Carrier], None]) -> Listener:
        """Call `accept` for every carrier that a neighbour opens; raises OSError if the port is taken."""
        ...
