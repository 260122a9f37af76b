"""The circuit handshake: CREATE, CREATED and what both sides derive (docs/spec/circuit.md section 5).

`Noise_NKhfs_25519+MLKEM768` against the relay's onion key of the day; the relay's identity, the key,
version and suite are in the prologue. One-way: the relay learns nothing about the client.

    CREATE body   u8 version ‖ u8 suite ‖ key id 8 ‖ u8 m ‖ solution m ‖ u16 len ‖ message 1   (then random)
    CREATED body  u16 len ‖ message 2                                                          (then random)
    CM, SM        u8 type ‖ u8 len ‖ value, types ascending, at most 192 octets

Sans-IO, for control cells only.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, Protocol, Self

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.crypto.aead import TAG_SIZE, Suite
from vigilnet.crypto.labels import Label, label_octets
from vigilnet.crypto.noise import (
    DH_SIZE,
    KEM_CIPHERTEXT_SIZE,
    KEM_PUBLIC_SIZE,
    Ephemerals,
    NoiseHandshake,
    Pattern,
)
from vigilnet.peer.keyring import KEY_ID_SIZE, onion_key_id
from vigilnet.traffic.circuit.messages import MAX_CREATE_BODY, DestroyReason
from vigilnet.traffic.circuit.puzzle import (
    SOLUTION_SIZE,
    CreateRefusedError,
    PuzzleGate,
    Solution,
    puzzle_target,
)
from vigilnet.traffic.stream.messages import Octets

# From the specification.
VERSION: Final = 1
CELL_BODY_SIZE: Final = 2032
MAX_PARAMETERS_SIZE: Final = 192
MIN_MESSAGE1: Final = DH_SIZE + KEM_PUBLIC_SIZE + 2 * TAG_SIZE  # 1248
MIN_MESSAGE2: Final = DH_SIZE + KEM_CIPHERTEXT_SIZE + 2 * TAG_SIZE  # 1152
VEGAS: Final = 0
SENDME_INCREMENT: Final = 28

_SUITES: Final = frozenset(Suite)
_HEAD_SIZE: Final = 2 + KEY_ID_SIZE + 1


def circuit_prologue(suite: Suite, relay_identity: bytes, key_id: bytes, network: str = "") -> bytes:
    """Return what both sides mix in first: version, suite, relay and onion key."""
    return label_octets(Label.CIRCUIT, network) + bytes([0, VERSION, suite]) + relay_identity + key_id


@dataclass(frozen=True, slots=True)
class HopKeys:
    """What a finished handshake gives to one hop; kept by both sides only as long as the circuit."""

    suite: Suite
    forward: bytes  # 32 octets, client to relay
    backward: bytes  # 32 octets, relay to client
    binding: bytes  # the handshake hash, binds later messages to this circuit


@dataclass(frozen=True, slots=True)
class HopParameters:
    """CM and SM: what client and hop agree on. Unset values are not sent.

    All clients of version 1 send the default: other octets would tell them apart.
    """

    congestion: tuple[int, int] | None = (VEGAS, SENDME_INCREMENT)  # algorithm, cells per SENDME
    stream_credit: int | None = None
    padding_profile: int | None = None
    max_cells: int | None = None
    purpose: int | None = None  # 0 general, 1 rendezvous, 2 introduction, 3 directory
    allows_multipath: bool | None = None

    def encode(self) -> bytes:
        """Return the octets, types ascending."""
        fields = (
            (1, bytes(self.congestion) if self.congestion else None),
            (2, None if self.stream_credit is None else self.stream_credit.to_bytes(4, "big")),
            (3, _octet(self.padding_profile)),
            (4, _octet(self.max_cells)),
            (5, _octet(self.purpose)),
            (6, _octet(self.allows_multipath)),
        )
        return b"".join(bytes([kind, len(value)]) + value for kind, value in fields if value is not None)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Parse; unknown types are skipped, order and lengths must be right."""
        values = _split_fields(data)
        for kind, size in ((1, 2), (2, 4), (3, 1), (4, 1), (5, 1), (6, 1)):
            if kind in values and len(values[kind]) != size:
                raise RemoteProtocolError(
                    f"hop parameter {kind}: {len(values[kind])} octets, expected {size}"
                )

        def number(kind: int) -> int | None:
            return int.from_bytes(values[kind], "big") if kind in values else None

        multipath = number(6)
        if multipath not in (None, 0, 1):
            raise RemoteProtocolError(f"hop parameter 6: value {multipath}, expected 0 or 1")
        congestion = (values[1][0], values[1][1]) if 1 in values else None
        return cls(
            congestion,
            number(2),
            number(3),
            number(4),
            number(5),
            None if multipath is None else bool(multipath),
        )


def _octet(value: int | None) -> bytes | None:
    return None if value is None else bytes([value])


def _split_fields(data: bytes) -> dict[int, bytes]:
    if len(data) > MAX_PARAMETERS_SIZE:
        raise RemoteProtocolError(f"hop parameters: {len(data)} octets, at most {MAX_PARAMETERS_SIZE}")
    values: dict[int, bytes] = {}
    at, last = 0, -1
    while at < len(data):
        kind = data[at]
        end = at + 2 + data[at + 1] if at + 1 < len(data) else len(data) + 1
        if end > len(data) or kind <= last:
            raise RemoteProtocolError("hop parameters: cut short, or types not ascending")
        values[kind] = data[at + 2 : end]
        at, last = end, kind
    return values


@dataclass(frozen=True, slots=True)
class CreateBody:
    """The fields of a CREATE body, unverified."""

    version: int
    suite: int
    key_id: bytes
    solution: bytes
    message1: bytes

    def encode(self) -> bytes:
        """Return the octets, as they go into an EXTEND."""
        return b"".join(
            (
                bytes([self.version, self.suite]),
                self.key_id,
                bytes([len(self.solution)]),
                self.solution,
                len(self.message1).to_bytes(2, "big"),
                self.message1,
            )
        )

    @classmethod
    def decode(cls, body: Octets) -> Self:
        """Parse the head of a cell's body or of an EXTEND's; what follows message 1 is random fill.

        The version is looked at first: another one says nothing about the other fields.
        """
        octets = bytes(body)
        if len(octets) < _HEAD_SIZE:
            raise RemoteProtocolError(f"create body: {len(octets)} octets, at least {_HEAD_SIZE} expected")
        version, suite, solution_size = octets[0], octets[1], octets[_HEAD_SIZE - 1]
        key_id = octets[2 : 2 + KEY_ID_SIZE]
        if version != VERSION:
            return cls(version, suite, key_id, b"", b"")
        if solution_size not in (0, SOLUTION_SIZE):
            raise RemoteProtocolError(f"create body: solution of {solution_size} octets, expected 0 or 13")
        at = _HEAD_SIZE + solution_size
        return cls(
            version, suite, key_id, octets[_HEAD_SIZE:at], _take_message(octets, at, MIN_MESSAGE1, "create")
        )


def _take_message(octets: bytes, at: int, least: int, what: str) -> bytes:
    length = int.from_bytes(octets[at : at + 2], "big")
    if not least <= length <= least + MAX_PARAMETERS_SIZE or at + 2 + length > len(octets):
        raise RemoteProtocolError(f"{what} body: message of {length} octets in a body of {len(octets)}")
    return octets[at + 2 : at + 2 + length]


def created_head(body: Octets) -> bytes:
    """Cut a CREATED cell's body (or check an EXTENDED's) to `u16 len ‖ message 2`, without the fill."""
    octets = bytes(body)
    message2 = _take_message(octets, 0, MIN_MESSAGE2, "created")
    return len(message2).to_bytes(2, "big") + message2


def fill_cell(head: bytes, random_bytes: Callable[[int], bytes]) -> bytes:
    """Return `head` filled up with random octets to one cell's body."""
    if len(head) > CELL_BODY_SIZE:
        raise LocalProtocolError(f"cell body: {len(head)} octets, at most {CELL_BODY_SIZE}")
    return head + random_bytes(CELL_BODY_SIZE - len(head))


class ClientHandshake:
    """The client's side towards one relay; good for one try: a retry is a new object with fresh keys.

    Args:
        relay_identity: the relay's identity key, 32 octets.
        onion_public: the relay's onion key of the day, from its record.
        suite: the relay's preferred suite, from its record.
        network: name of the private network, if any.
        parameters: what to ask for; all clients use the default.
        ephemerals: where single-use keys come from.
    """

    def __init__(
        self,
        relay_identity: bytes,
        onion_public: bytes,
        suite: Suite,
        *,
        network: str = "",
        parameters: HopParameters | None = None,
        ephemerals: Ephemerals | None = None,
    ) -> None:
        self._suite = suite
        self._identity = relay_identity
        self._network = network
        self._asked = parameters or HopParameters()
        self._key_id = onion_key_id(onion_public, network)
        self._noise = NoiseHandshake(
            Pattern.NK_HFS,
            suite,
            initiator=True,
            prologue=circuit_prologue(suite, relay_identity, self._key_id, network),
            remote_static=onion_public,
            ephemerals=ephemerals,
        )
        self._message1 = self._noise.write_message(self._asked.encode())

    @property
    def puzzle_target(self) -> bytes:
        """What a puzzle solution for this very handshake is bound to."""
        return puzzle_target(self._identity, self._message1, self._network)

    def create_body(self, solution: Solution | None = None) -> bytes:
        """Return the CREATE body as it goes into EXTEND, at most 1500 octets; see also `fill_cell`."""
        solved = solution.encode() if solution else b""
        body = CreateBody(VERSION, self._suite, self._key_id, solved, self._message1).encode()
        if len(body) > MAX_CREATE_BODY:
            raise LocalProtocolError(f"create body: {len(body)} octets, at most {MAX_CREATE_BODY}")
        return body

    def finish(self, created_body: Octets) -> tuple[HopKeys, HopParameters]:
        """Take the relay's CREATED (or EXTENDED) body; return the hop's keys and what it agreed to.

        Raises:
            RemoteProtocolError: not from this relay for this CREATE, or it agreed to something else
                than was asked.
        """
        message2 = _take_message(bytes(created_body), 0, MIN_MESSAGE2, "created")
        agreed = HopParameters.decode(self._noise.read_message(message2))
        if agreed.congestion != self._asked.congestion:
            raise RemoteProtocolError("created body: the relay did not confirm the congestion parameters")
        keys = self._noise.finish()
        hop = HopKeys(
            self._suite, keys.initiator_to_responder, keys.responder_to_initiator, keys.handshake_hash
        )
        return hop, agreed


class OnionSecrets(Protocol):
    """Where a relay's onion keys are found; served by the peer room's key ring."""

    def onion_secret(self, key_id: bytes) -> X25519PrivateKey | None:
        """Return the secret of the onion key with this id, while it is accepted."""
        ...


@dataclass(frozen=True, slots=True)
class CheckedCreate:
    """A CREATE that passed every cheap check and may wait for its turn."""

    suite: Suite
    key_id: bytes
    secret: X25519PrivateKey
    message1: bytes
    effort: int  # which its solution was good for; the queue serves the highest first


@dataclass(frozen=True, slots=True)
class AcceptedCreate:
    """The relay's answer to a CREATE and the hop's keys."""

    created_body: bytes  # without fill; see `fill_cell`
    keys: HopKeys
    parameters: HopParameters


class RelayHandshake:
    """The relay's side: checks a CREATE cheapest first, then answers it.

    Args:
        identity: our identity key, 32 octets.
        secrets: our onion keys.
        gate: our puzzles.
        suites: which suites we take.
        network: name of the private network, if any.
        ephemerals: where single-use keys come from.
    """

    def __init__(
        self,
        identity: bytes,
        secrets: OnionSecrets,
        gate: PuzzleGate,
        *,
        suites: Collection[int] = _SUITES,
        network: str = "",
        ephemerals: Ephemerals | None = None,
    ) -> None:
        self._identity = identity
        self._secrets = secrets
        self._gate = gate
        self._suites = frozenset(suites) & _SUITES
        self._network = network
        self._ephemerals = ephemerals

    def accept(
        self, create_body: Octets, now: float, within_budget: Callable[[], bool] | None = None
    ) -> AcceptedCreate:
        """Check and answer at once; see `check` and `answer`."""
        return self.answer(self.check(create_body, now, within_budget))

    def check(
        self, create_body: Octets, now: float, within_budget: Callable[[], bool] | None = None
    ) -> CheckedCreate:
        """Do every check that comes before DH: version, key id, puzzle, solution unused, budget.

        Raises:
            CreateRefusedError: with the reason to send back.
        """
        try:
            body = CreateBody.decode(create_body)
        except RemoteProtocolError as error:
            raise CreateRefusedError(DestroyReason.PROTOCOL, str(error)) from error
        if body.version != VERSION or body.suite not in self._suites:
            raise CreateRefusedError(
                DestroyReason.VERSION, f"create: version {body.version}, suite {body.suite} not spoken"
            )
        secret = self._secrets.onion_secret(body.key_id)
        if secret is None:
            raise CreateRefusedError(DestroyReason.UNKNOWN_KEY, "create: onion key not known or out of date")
        effort = self._gate.check(body.solution, body.message1, now)
        if within_budget is not None and not within_budget():
            raise CreateRefusedError(DestroyReason.OVERLOAD, "create: over the link's budget")
        return CheckedCreate(Suite(body.suite), body.key_id, secret, body.message1, effort)

    def answer(self, create: CheckedCreate) -> AcceptedCreate:
        """Do the handshake, about 0.22 ms.

        Raises:
            CreateRefusedError: forged, or asks for what we do not do.
        """
        noise = NoiseHandshake(
            Pattern.NK_HFS,
            create.suite,
            initiator=False,
            prologue=circuit_prologue(create.suite, self._identity, create.key_id, self._network),
            local_static=create.secret,
            ephemerals=self._ephemerals,
        )
        try:
            asked = HopParameters.decode(noise.read_message(create.message1))
        except RemoteProtocolError as error:
            raise CreateRefusedError(DestroyReason.PROTOCOL, str(error)) from error
        if asked.congestion not in (None, (VEGAS, SENDME_INCREMENT)):
            raise CreateRefusedError(
                DestroyReason.POLICY, "create: congestion parameters that we do not speak"
            )
        agreed = HopParameters(congestion=asked.congestion)
        try:
            message2 = noise.write_message(agreed.encode())
        except RemoteProtocolError as error:  # an all-zero DH result
            raise CreateRefusedError(DestroyReason.PROTOCOL, "create: degenerate key") from error
        keys = noise.finish()
        hop = HopKeys(
            create.suite, keys.initiator_to_responder, keys.responder_to_initiator, keys.handshake_hash
        )
        return AcceptedCreate(len(message2).to_bytes(2, "big") + message2, hop, asked)
