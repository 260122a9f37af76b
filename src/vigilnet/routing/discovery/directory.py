"""Records through a circuit: what a client asks, what a relay answers (docs/spec/discovery.md section 6).

    request = u8 16 ‖ u16 6 ‖ u32 since ‖ u16 at most          one a stream, then FIN
            | u8 17 ‖ u16 20 ‖ key                             of the DHT (`dht`)
    answer  = frames of kind ITEMS (`wire`), back to back, then FIN

The request says nothing of what the client has: that would tell it from others. `since` is a multiple
of 10 800 s, so that it says little of when the client asked before.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final, Self

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.crypto.kdf import sha256
from vigilnet.peer.descriptor import PeerRecord
from vigilnet.routing.discovery.dht import LOOKUP, LOOKUP_SIZE, Lookup
from vigilnet.routing.discovery.limits import within_prefixes
from vigilnet.routing.discovery.wire import (
    HEAD_SIZE,
    MAX_FRAME,
    Item,
    Items,
    ItemType,
    decode_frame,
    encode_proof,
)

FETCH: Final = 16
REQUEST_SIZE: Final = 9
GRID_S: Final = 10_800
MAX_PER_PREFIX: Final = 8  # relays of one /24 or /48 in an answer
MAX_ANSWER: Final = 16 * 1024 * 1024
MAX_ITEMS: Final = 16_384  # of an answer; a table has at most 8192 records
_KINDS: Final = b"\x04"


@dataclass(frozen=True)
class Fetch:
    """What a client asks for.

    Attributes:
        since: only what was published then or later, Unix seconds, a multiple of `GRID_S`; 0 for all.
        at_most: so many records, drawn by chance, and nothing else; 0 for all.
    """

    since: int = 0
    at_most: int = 0

    def encode(self) -> bytes:
        """Return the request."""
        if self.since % GRID_S:
            raise LocalProtocolError("fetch: since is not on the grid")
        return (
            bytes((FETCH,))
            + (REQUEST_SIZE - HEAD_SIZE).to_bytes(2, "big")
            + self.since.to_bytes(4, "big")
            + self.at_most.to_bytes(2, "big")
        )

    @classmethod
    def decode(cls, octets: bytes) -> Self:
        """Parse a request.

        Raises:
            RemoteProtocolError: not one.
        """
        if len(octets) != REQUEST_SIZE or octets[:3] != bytes((FETCH, 0, REQUEST_SIZE - HEAD_SIZE)):
            raise RemoteProtocolError(f"fetch: {len(octets)} octets that are no request")
        since = int.from_bytes(octets[3:7], "big")
        if since % GRID_S:
            raise RemoteProtocolError("fetch: since is not on the grid")
        return cls(since, int.from_bytes(octets[7:9], "big"))


def parse_request(octets: bytes) -> Fetch | Lookup | None:
    """Return the request that a client has written so far; None while there is more to come.

    Raises:
        RemoteProtocolError: no request, or more than one.
    """
    kind = Fetch if octets[:1] == bytes((FETCH,)) else Lookup
    size = REQUEST_SIZE if kind is Fetch else LOOKUP_SIZE
    if len(octets) < size and octets[:1] in (b"", bytes((FETCH,)), bytes((LOOKUP,))):
        return None
    return kind.decode(octets)


def choose_items(
    request: Fetch,
    records: Iterable[PeerRecord],
    revocations: Iterable[PeerRecord],
    proofs: Iterable[tuple[bytes, bytes]],
    random_bytes: Callable[[int], bytes],
    *,
    has_prefix_limits: bool,
) -> Iterator[Item]:
    """Return what answers a request, made as it is read: who reads slowly costs no whole answer's memory.

    Args:
        request: what was asked.
        records: relays that we dialled with success, and ourselves.
        revocations: all that we know.
        proofs: all that we know.
        random_bytes: chance: the order says nothing, and the first ones are a fair sample.
        has_prefix_limits: few of each prefix; off in labs and LANs.
    """
    salt = random_bytes(16)
    drawn = sorted(
        (record for record in records if record.published >= request.since),
        key=lambda record: sha256(salt, record.digest),
    )
    if has_prefix_limits:
        drawn = within_prefixes(drawn, MAX_PER_PREFIX)
    if request.at_most:
        return (Item(ItemType.RECORD, record.encoded) for record in drawn[: request.at_most])
    gone = [record for record in revocations if record.published >= request.since]
    told, proven = (*drawn, *gone), tuple(proofs)
    return chain(
        (Item(ItemType.RECORD, record.encoded) for record in told),
        (Item(ItemType.PROOF, encode_proof(*pair)) for pair in proven),
    )


class AnswerReader:
    """Takes an answer apart as it arrives."""

    def __init__(self) -> None:
        self._octets = bytearray()
        self._taken = 0
        self._items = 0

    @property
    def is_complete(self) -> bool:
        """Whether what came so far ends with a frame."""
        return not self._octets

    def feed(self, data: bytes) -> Iterator[Item]:
        """Give the items that are complete with `data`.

        Raises:
            RemoteProtocolError: not an answer, or longer than any.
        """
        self._octets += data
        self._taken += len(data)
        if self._taken > MAX_ANSWER:
            raise RemoteProtocolError(f"directory: an answer of over {MAX_ANSWER} octets")
        while len(self._octets) >= HEAD_SIZE:
            size = HEAD_SIZE + int.from_bytes(self._octets[1:HEAD_SIZE], "big")
            if self._octets[:1] != _KINDS or size > MAX_FRAME:
                raise RemoteProtocolError("directory: an answer with other frames than items")
            if len(self._octets) < size:
                return
            frame = decode_frame(bytes(self._octets[:size]))
            del self._octets[:size]
            if isinstance(frame, Items):
                self._items += len(frame.items) + frame.passed_over
                if self._items > MAX_ITEMS:
                    raise RemoteProtocolError(f"directory: an answer of over {MAX_ITEMS} items")
                yield from frame.items
