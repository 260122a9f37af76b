"""Circuit puzzles (kind 2, Argon2id): solving, checking, seeds and effort (docs/spec/circuit.md section 9).

A relay under load asks for `effort`, the mean number of Argon2id calls that a client spends before
its CREATE is looked at. A solution counts for one relay, one seed and one handshake message, once.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from vigilnet.base.errors import RemoteProtocolError, VigilnetError
from vigilnet.crypto.kdf import is_equal, sha256
from vigilnet.crypto.labels import Label, label_octets
from vigilnet.traffic.circuit.messages import SEED_SIZE, DestroyReason, PuzzleDemand

# From the specification.
KIND_ARGON2ID: Final = 2
SOLUTION_SIZE: Final = 13  # u8 kind ‖ seed head 4 ‖ nonce 8
SEED_LIFE_S: Final = 3600.0
MAX_USED: Final = 262_144
MAX_EFFORT: Final = 4096
MIN_EFFORT: Final = 8
CONTROL_PERIOD_S: Final = 10.0
MEMORY_KIB: Final = 256

_SOLUTION: Final = struct.Struct(">B4sQ")
_HEAD_SIZE: Final = 4
_NONCES: Final = 1 << 64


class CreateRefusedError(VigilnetError):
    """A CREATE is not taken, for a reason that goes back to the client in a DESTROY.

    Not a `RemoteProtocolError`: a remote client may be the cause, and must not cost the link.
    """

    def __init__(
        self,
        reason: DestroyReason,
        message: str,
        puzzle: PuzzleDemand | None = None,
        *,
        is_junk: bool = False,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.puzzle = puzzle
        self.is_junk = is_junk  # a solution was given, and it is none


@dataclass(frozen=True, slots=True)
class Solution:
    """`u8 kind ‖ seed head 4 ‖ nonce 8`."""

    seed_head: bytes
    nonce: int
    kind: int = KIND_ARGON2ID

    def encode(self) -> bytes:
        """Return the 13 octets."""
        return _SOLUTION.pack(self.kind, self.seed_head, self.nonce)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Parse exactly 13 octets."""
        if len(data) != SOLUTION_SIZE:
            raise RemoteProtocolError(f"puzzle solution: {len(data)} octets, expected {SOLUTION_SIZE}")
        kind, head, nonce = _SOLUTION.unpack(data)
        if kind != KIND_ARGON2ID:
            raise RemoteProtocolError(f"puzzle solution: kind {kind}, expected {KIND_ARGON2ID}")
        return cls(head, nonce)


def puzzle_target(identity: bytes, message1: bytes, network: str = "") -> bytes:
    """Return T: what ties a solution to this relay and this very handshake message."""
    return sha256(label_octets(Label.PUZZLE_CIRCUIT, network), b"\0", identity, message1)


def puzzle_output(target: bytes, seed: bytes, nonce: int) -> bytes:
    """Return y, 32 octets; about 0.15 ms of one core."""
    kdf = Argon2id(salt=seed, length=32, iterations=1, lanes=1, memory_cost=MEMORY_KIB)
    return kdf.derive(target + nonce.to_bytes(8, "big"))


def meets_effort(output: bytes, effort: int) -> bool:
    """Whether y is good enough: u32(y[:4]) * effort < 2^32."""
    return int.from_bytes(output[:4], "big") * effort < 1 << 32


class PuzzleSolver:
    """Looks for a solution in slices, so that a service can do it beside other work.

    Args:
        target: what `puzzle_target` gave.
        demand: seed and effort asked.
        first_nonce: where to start; any value is as good as another.

    Raises:
        CreateRefusedError: the effort is above what an honest client spends.
    """

    __slots__ = ("_demand", "_nonce", "_target", "tries")

    def __init__(self, target: bytes, demand: PuzzleDemand, first_nonce: int = 0) -> None:
        if demand.effort > MAX_EFFORT:
            raise CreateRefusedError(
                DestroyReason.PUZZLE, f"puzzle: effort {demand.effort} asked, at most {MAX_EFFORT} is spent"
            )
        self._target = target
        self._demand = demand
        self._nonce = first_nonce
        self.tries = 0

    def step(self, tries: int = 64) -> Solution | None:
        """Try up to `tries` nonces (0.15 ms each); return a solution, or None to be called again."""
        seed, effort = self._demand.seed, self._demand.effort
        for _ in range(tries):
            nonce = self._nonce
            self._nonce = (nonce + 1) % _NONCES
            self.tries += 1
            if meets_effort(puzzle_output(self._target, seed, nonce), effort):
                return Solution(seed[:_HEAD_SIZE], nonce)
        return None

    def solve(self) -> Solution:
        """Try until one is found: 0.6 s on average at the highest effort."""
        while True:
            found = self.step()
            if found is not None:
                return found


class _Seed:
    """One seed with its end and the outputs already used under it."""

    __slots__ = ("end", "octets", "used")

    def __init__(self, octets: bytes, end: float) -> None:
        self.octets = octets
        self.end = end
        self.used: set[bytes] = set()


class PuzzleGate:
    """A relay's side: hands out seeds, checks solutions, each once.

    Args:
        identity: our identity key, 32 octets.
        random_bytes: for seeds.
        now: monotonic seconds.
        network: name of the private network, if any.
    """

    def __init__(
        self, identity: bytes, random_bytes: Callable[[int], bytes], now: float, network: str = ""
    ) -> None:
        self._identity = identity
        self._network = network
        self._random_bytes = random_bytes
        self._current = _Seed(random_bytes(SEED_SIZE), now + SEED_LIFE_S)
        self._previous: _Seed | None = None
        self._effort = 0
        self._effort_before = 0

    @property
    def effort(self) -> int:
        """The effort asked now; 0 means none."""
        return self._effort

    def set_effort(self, effort: int) -> None:
        """Ask for another effort; what was asked until now stays good enough until the next call.

        Without that grace a client that has just solved what our refusal asked would be refused a
        second time whenever the effort rises.
        """
        self._effort_before, self._effort = self._effort, min(effort, MAX_EFFORT)

    def demand(self, now: float) -> PuzzleDemand:
        """What to put into a refusal or our record: the seed in use and the effort asked."""
        self._renew(now)
        return PuzzleDemand(self._current.octets, self._effort)

    def seed_end(self, now: float) -> float:
        """When the seed in use ends (monotonic seconds), unless its set of used solutions fills up before."""
        self._renew(now)
        return self._current.end

    def check(self, solution: bytes, message1: bytes, now: float) -> int:
        """Check the solution of a CREATE (empty: none was sent) and mark it as used.

        Returns:
            The effort that it was good for, by which the queue is ordered: what is asked now, or
            less if it only meets what was asked in the last period.

        Raises:
            CreateRefusedError: missing, malformed, stale, not good enough, or used before.
        """
        self._renew(now)
        if not self._effort:
            return 0
        if not solution:
            if not self._effort_before:
                return 0
            raise self._refused("no solution", is_junk=False)
        try:
            given = Solution.decode(solution)
        except RemoteProtocolError as error:
            raise self._refused("malformed solution") from error
        seed = self._seed_of(given.seed_head)
        if seed is None:
            raise self._refused("solution under another seed")
        output = puzzle_output(
            puzzle_target(self._identity, message1, self._network), seed.octets, given.nonce
        )
        reached = next(
            (effort for effort in (self._effort, self._effort_before) if meets_effort(output, effort)), None
        )
        if reached is None:
            raise self._refused("wrong solution")
        if output[:16] in seed.used:
            raise self._refused("solution used before")
        seed.used.add(output[:16])
        return reached

    def _refused(self, what: str, *, is_junk: bool = True) -> CreateRefusedError:
        demand = PuzzleDemand(self._current.octets, self._effort)
        return CreateRefusedError(DestroyReason.PUZZLE, f"puzzle: {what}", demand, is_junk=is_junk)

    def _seed_of(self, head: bytes) -> _Seed | None:
        for seed in (self._current, self._previous):
            if seed is not None and is_equal(seed.octets[:_HEAD_SIZE], head):
                # A previous seed may have filled up: it takes nothing more then.
                return seed if len(seed.used) < MAX_USED else None
        return None

    def _renew(self, now: float) -> None:
        if now >= self._current.end or len(self._current.used) >= MAX_USED:
            is_recent = now < self._current.end + SEED_LIFE_S
            self._previous = self._current if is_recent else None
            self._current = _Seed(self._random_bytes(SEED_SIZE), now + SEED_LIFE_S)
        elif self._previous is not None and now >= self._previous.end + SEED_LIFE_S:
            self._previous = None


class EffortControl:
    """Decides each 10 s how much effort a relay asks for (section 9, "Effort control").

    Tell it what handshakes cost and which were refused; call `on_deadline` at `deadline`.
    """

    __slots__ = ("_emptied", "_mean_s", "_refused", "_since", "_worked_s", "effort")

    def __init__(self, now: float) -> None:
        self.effort = 0
        self._since = now
        self._worked_s = 0.0
        self._mean_s = 0.000_25  # of one handshake; measured from the first on
        self._refused = 0
        self._emptied = True

    @property
    def deadline(self) -> float:
        """When to call `on_deadline`."""
        return self._since + CONTROL_PERIOD_S

    def handshake_done(self, seconds: float) -> None:
        """A CREATE was answered and took `seconds` of worker time."""
        self._worked_s += seconds
        self._mean_s += (seconds - self._mean_s) / 16

    def create_refused(self) -> None:
        """A CREATE was refused or dropped for lack of time or of a solution."""
        self._refused += 1

    def queue_emptied(self) -> None:
        """The CREATE queue had nothing left at some moment of this period."""
        self._emptied = True

    def on_deadline(self, now: float, waiting: int) -> int:
        """Close the period and return the effort to ask from now on.

        Args:
            now: monotonic seconds.
            waiting: how many CREATEs wait in the queue.
        """
        elapsed = max(now - self._since, 0.001)
        load = (self._worked_s + (self._refused + waiting) * self._mean_s) / elapsed
        if load > 0.5 and not self._emptied:
            self.effort = min(max(MIN_EFFORT, 2 * self.effort), MAX_EFFORT)
        elif load < 0.25:
            lower = self.effort * 2 // 3
            self.effort = lower if lower >= MIN_EFFORT else 0
        self._since, self._worked_s, self._refused, self._emptied = now, 0.0, 0, waiting == 0
        return self.effort
