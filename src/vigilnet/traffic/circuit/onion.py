"""Onion layers, the "ladder": AEAD per hop at constant size (sans-IO, hot path).

docs/spec/circuit.md section 4.2 gives the construction and its argument. A relay makes one AEAD
call per record: forward `V' = Open(0^16 ‖ V)`, backward `V' = Seal(V)[16:]`, so V never changes
its size and tells no hop its place. The client arranges, by the ladder, that every prepended
zero block is what the next layer needs.

Buffers: a record is built at `cell.RUN_AT` of a frame view, so that the record sealed in place is
the run that the link sends. Open never runs in place: after a bad tag OpenSSL has already written
the unverified plaintext, so it must not lie where anybody reads; it is overwritten with zeros.

Nonces are counters that never repeat under a key: seal in sending order, and after an exception
in the middle of sealing drop the circuit, never retry.
"""

import functools
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.crypto.aead import TAG_SIZE, Suite, big_endian_nonce, keystream_columns, new_aead
from vigilnet.crypto.kdf import hmac_sha256
from vigilnet.crypto.labels import Label, label_octets
from vigilnet.traffic.cell import BULK_CELLS, CELL_SIZE, RUN_AT

# From the specification.
MAX_HOPS: Final = 10
LADDER_SIZE: Final = 160
STOP_BLOCK_SIZE: Final = 16
PREFIX_SIZE: Final = LADDER_SIZE + STOP_BLOCK_SIZE
REKEY_INTERVAL: Final = 1 << 14
MAX_COUNTER: Final = 1 << 40

# Our choice.
LADDER_BATCH: Final = 64  # measured: 1.6-2.0 us a record instead of 5-8 when made one by one
_RANDOM_POOL: Final = 16_384

_PASS: Final = b"\x00"
_HERE: Final = b"\x01"
_ZERO_HEAD: Final = bytes(16)
_ZERO_PREFIX: Final = bytes(PREFIX_SIZE)
_REKEY_MASK: Final = REKEY_INTERVAL - 1
_ZERO_RUN: Final = bytes(CELL_SIZE * BULK_CELLS)


class BadRecordError(RemoteProtocolError):
    """A record whose tag or stop block is wrong: the circuit must be torn down."""


class Lane:
    """One direction of one hop: key, cipher and counter, with the rekey each 2^14 records."""

    __slots__ = ("_rekey_label", "counter", "decrypt_into", "encrypt_into", "key", "suite")

    def __init__(self, suite: Suite, key: bytes, network: str = "", counter: int = 0) -> None:
        self.suite = suite
        self.counter = counter
        self._rekey_label = label_octets(Label.ONION_REKEY, network) + b"\x01"
        self._set_key(key)

    def _set_key(self, key: bytes) -> None:
        self.key = key
        cipher = new_aead(self.suite, key)
        self.encrypt_into = cipher.encrypt_into
        self.decrypt_into = cipher.decrypt_into

    def step(self) -> None:
        """Count one record; derives the next key where the specification says so."""
        self.counter += 1
        if not self.counter & _REKEY_MASK:
            if self.counter >= MAX_COUNTER:
                raise LocalProtocolError("onion layer: 2^40 records, the circuit must end")
            self._set_key(hmac_sha256(self.key, self._rekey_label))

    def records_until_rekey(self) -> int:
        """How many records, from the next one on, share the present key."""
        return REKEY_INTERVAL - (self.counter & _REKEY_MASK)


class RelayOnion:
    """A relay's layer of one circuit."""

    __slots__ = ("_backward", "_forward")

    def __init__(
        self, suite: Suite, forward_key: bytes, backward_key: bytes, network: str = "", counter: int = 0
    ) -> None:
        self._forward = Lane(suite, forward_key, network, counter)
        self._backward = Lane(suite, backward_key, network, counter)

    def open_forward(self, run: memoryview, frame: memoryview, *, is_last: bool) -> bool:
        """Take our layer off a record that came from the client's side.

        Args:
            run: the received run, header included; its header is overwritten with zeros.
            frame: a new frame view; V' is written at RUN_AT + 16, behind the room for a header.
            is_last: whether the circuit ends here, which decides what is tried first.

        Returns:
            True if the record ends here (its message area starts at `wire.AREA_AT + 16` of `frame`),
            False if it goes on to the next hop.

        Raises:
            BadRecordError: neither tag verifies, or the stop block is not zero. `frame` is zeroed.
        """
        lane = self._forward
        size = len(run)
        run[:16] = _ZERO_HEAD
        opened = frame[RUN_AT + 16 : RUN_AT + size]
        nonce = big_endian_nonce(lane.counter)
        first, second = (_HERE, _PASS) if is_last else (_PASS, _HERE)
        try:
            lane.decrypt_into(nonce, run, first, opened)
            is_here = is_last
        except InvalidTag:
            try:
                lane.decrypt_into(nonce, run, second, opened)
            except InvalidTag:
                opened[:] = _ZERO_RUN[: len(opened)]
                raise BadRecordError("onion record: no tag verifies at this hop") from None
            is_here = not is_last
        lane.step()
        if is_here and opened[LADDER_SIZE:PREFIX_SIZE].tobytes() != _ZERO_HEAD:
            opened[:] = _ZERO_RUN[: len(opened)]
            raise BadRecordError("onion record: stop block is not zero")
        return is_here

    def seal_backward(self, run: memoryview, frame: memoryview) -> None:
        """Add our layer to a record that came from the next hop.

        Args:
            run: the received run, header included.
            frame: a new frame view; the run is written at RUN_AT, where 16 junk octets wait to be
                overwritten by the new header.
        """
        lane = self._backward
        lane.encrypt_into(big_endian_nonce(lane.counter), run[16:], _PASS, frame[RUN_AT : RUN_AT + len(run)])
        lane.step()

    def originate_backward(self, frame: memoryview, size: int) -> memoryview:
        """Seal a record of ours for the client, in place.

        Args:
            frame: a frame view whose message area at `wire.AREA_AT` is filled; what lies before it from
                RUN_AT on must be zero (as in a new frame).
            size: octets of the run.

        Returns:
            The record's tag (16 octets, part of `frame`), which the client's SENDME must repeat.
        """
        lane = self._backward
        record = frame[RUN_AT : RUN_AT + size]
        lane.encrypt_into(big_endian_nonce(lane.counter), record[: size - TAG_SIZE], _HERE, record)
        lane.step()
        return record[size - TAG_SIZE :]


class ClientOnion:
    """The client's layers of one circuit, guard first."""

    __slots__ = (
        "_backward",
        "_backward_at",
        "_backward_batch",
        "_fill",
        "_fill_at",
        "_forward",
        "_forward_at",
        "_forward_batch",
        "_random_bytes",
    )

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self._forward: list[Lane] = []
        self._backward: list[Lane] = []
        self._random_bytes = random_bytes
        self._fill = b""
        self._fill_at = 0
        self._forward_batch: list[bytes] = []  # per hop, outermost first: columns of LADDER_BATCH blocks
        self._forward_at = 0
        self._backward_batch: list[bytes] = []
        self._backward_at = 0

    def add_hop(
        self, suite: Suite, forward_key: bytes, backward_key: bytes, network: str = "", counter: int = 0
    ) -> None:
        """Append the layer of the hop just reached."""
        if len(self._forward) == MAX_HOPS:
            raise LocalProtocolError(f"circuit: at most {MAX_HOPS} hops")
        self._forward.append(Lane(suite, forward_key, network, counter))
        self._backward.append(Lane(suite, backward_key, network, counter))
        self._forward_batch = []
        self._backward_batch = []

    def truncate(self, hops: int) -> None:
        """Forget the layers behind the first `hops` hops, keys included."""
        del self._forward[hops:], self._backward[hops:]
        self._forward_batch = []
        self._backward_batch = []

    @property
    def hops(self) -> int:
        """How many hops the circuit has now."""
        return len(self._forward)

    def new_record(self, cells: int, hop: int) -> memoryview:
        """Return a zeroed buffer for a record to hop `hop` (1-based); fill its area at `wire.AREA_AT`.

        The area has `wire.AREA_SIZES[cells]` octets. Give the buffer to `seal`.
        """
        return memoryview(bytearray(RUN_AT + CELL_SIZE * cells + 16 * hop))

    def seal(self, record: memoryview, hop: int) -> tuple[memoryview, bytes]:
        """Wrap a record for hop `hop` in its layers, so that the guard's is outermost.

        Returns:
            (frame view whose run needs only its header, the tag that hop's SENDME must repeat).

        Raises:
            LocalProtocolError: our own bug; the circuit must be dropped.
        """
        lanes = self._forward
        if not 1 <= hop <= len(lanes):
            raise LocalProtocolError(f"onion seal: hop {hop} of {len(lanes)}")
        size = len(record) - RUN_AT - 16 * hop
        at = RUN_AT
        fill = LADDER_SIZE - 16 * hop
        record[at : at + 16 * hop] = self._forward_ladder(hop)
        if fill:
            record[at + 16 * hop : at + LADDER_SIZE] = self._random(fill)
        body = size - TAG_SIZE
        end = at + size
        tag = b""
        additional = _HERE
        for index in range(hop - 1, -1, -1):
            lane = lanes[index]
            layer = record[at:end]
            lane.encrypt_into(big_endian_nonce(lane.counter), layer[:body], additional, layer)
            if layer[:16].tobytes() != _ZERO_HEAD:
                raise LocalProtocolError("onion seal: stale ladder, circuit must be dropped")
            if additional is _HERE:
                tag = layer[body:].tobytes()
                additional = _PASS
            at += 16
            end += 16
            lane.step()
        return record[16 * (hop - 1) :], tag

    def open(self, run: memoryview) -> tuple[int, memoryview, bytes]:
        """Take all layers off a record that came from the guard.

        Args:
            run: the received run, header included; its header is overwritten.

        Returns:
            (hop it comes from, 1-based; its message area; its tag as that hop's layer ended).
            The area lies in a buffer of its own, so it may be kept.

        Raises:
            BadRecordError: no hop can have sent this.
        """
        hops = len(self._backward)
        for hop in range(hops, 0, -1):
            heads = self._backward_heads(hop)
            opened = self._open_from(run, hop, heads)
            if opened is not None:
                return hop, *opened
        raise BadRecordError("onion record: no hop's layers open it")

    def _open_from(self, run: memoryview, hop: int, heads: list[bytes]) -> tuple[memoryview, bytes] | None:
        """Open `run` as if hop `hop` had sent it; None if its first layer says no."""
        lanes = self._backward
        size = len(run)
        scratch = _scratch_views(size)
        source = run
        for index in range(hop - 1):
            lane = lanes[index]
            target, body = scratch[index & 1]
            source[:16] = heads[index]
            try:
                lane.decrypt_into(big_endian_nonce(lane.counter), source, _PASS, body)
            except InvalidTag:
                _refuse(body, index)
                return None
            source = target
        lane = lanes[hop - 1]
        source[:16] = heads[hop - 1]
        plain = memoryview(bytearray(size - 16))
        try:
            lane.decrypt_into(big_endian_nonce(lane.counter), source, _HERE, plain)
        except InvalidTag:
            _refuse(plain, hop - 1)
            return None
        if plain[:PREFIX_SIZE].tobytes() != _ZERO_PREFIX:
            raise BadRecordError("onion record: prefix is not zero")
        for lane in lanes[:hop]:
            lane.step()
        if hop == len(lanes):
            self._backward_at += 16
        else:
            self._backward_batch = []
        return plain[PREFIX_SIZE:], source[size - TAG_SIZE :].tobytes()

    def _random(self, size: int) -> bytes:
        at = self._fill_at
        if at + size > len(self._fill):
            self._fill = self._random_bytes(_RANDOM_POOL)
            at = 0
        self._fill_at = at + size
        return self._fill[at : at + size]

    def _forward_ladder(self, hop: int) -> bytes:
        """g_hop: what the record for hop `hop` must start with."""
        if hop != len(self._forward):
            self._forward_batch = []
            return b"".join(reversed(_ladder_columns(self._forward[:hop], 1)))
        at = self._forward_at
        batch = self._forward_batch
        if not batch or at == len(batch[0]):
            batch = self._forward_batch = _ladder_columns(self._forward, LADDER_BATCH)
            batch.reverse()
            at = 0
        self._forward_at = end = at + 16
        return b"".join([column[at:end] for column in batch])

    def _backward_heads(self, hop: int) -> list[bytes]:
        """head_1 … head_hop for the next record, if hop `hop` sends it."""
        if hop != len(self._backward):
            return _ladder_columns(self._backward[:hop], 1)
        at = self._backward_at
        batch = self._backward_batch
        if not batch or at == len(batch[0]):
            batch = self._backward_batch = _ladder_columns(self._backward, LADDER_BATCH)
            self._backward_at = at = 0
        end = at + 16
        return [column[at:end] for column in batch]


@functools.cache
def _scratch_views(size: int) -> tuple[tuple[memoryview, memoryview], tuple[memoryview, memoryview]]:
    """Two buffers for the layers in between, for runs of `size` octets, each with its part behind the head.

    Shared by all circuits: nothing stays in them from one record to the next.
    """
    first, second = memoryview(bytearray(size)), memoryview(bytearray(size))
    return (first, first[16:]), (second, second[16:])


def _refuse(opened: memoryview, index: int) -> None:
    """Erase what a failed Open wrote; behind the first layer it is a fault, not a wrong guess."""
    opened[:] = _ZERO_RUN[: len(opened)]
    if index:
        raise BadRecordError("onion record: an inner layer does not open")


def _ladder_columns(lanes: list[Lane], count: int) -> list[bytes]:
    """What each layer's first 16 ciphertext octets become, for the next records of a circuit.

    Column i (0-based hop) holds, for each of up to `count` consecutive records, the 16 octets
    `KS_i[0:16] xor KS_{i+1}[16:32] xor … xor KS_n[16(n-i)…]`, n being the last lane. Read from
    hop n down to 1 they are the forward ladder g_n; read singly they are the backward heads.
    Never reaches over a lane's rekey, so there may be fewer records than `count`.
    """
    for lane in lanes:
        count = min(count, lane.records_until_rekey())
    streams = [
        keystream_columns(lane.suite, lane.key, lane.counter, count, index + 1)
        for index, lane in enumerate(lanes)
    ]
    columns = []
    for first in range(len(lanes)):
        column = 0
        for step, stream in enumerate(streams[first:]):
            column ^= int.from_bytes(stream[step], "big")
        columns.append(column.to_bytes(16 * count, "big"))
    return columns
