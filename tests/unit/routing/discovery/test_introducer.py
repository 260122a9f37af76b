"""The one in the middle: whom it holds, what it passes on, and how much one neighbour may ask."""

import itertools
from dataclasses import dataclass, field

import pytest

from tests.support.records import RecordMaker
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.peer.descriptor import PeerRecord
from vigilnet.routing.discovery.calls import CALLED_BURST, KEPT, SHARE_BURST
from vigilnet.routing.discovery.introducer import (
    ASKED_BURST,
    MAX_HELD,
    MAX_HELD_PER_PREFIX,
    MAX_PENDING,
    PENDING_S,
    Introducer,
)
from vigilnet.routing.discovery.introduction import (
    Answer,
    AnswerStatus,
    Call,
    Endpoint,
    Flags,
    Frame,
    Held,
    HeldStatus,
    Hold,
    Introduce,
)

RELAY, ASKER, OTHER = b"R" * 32, b"A" * 32, b"O" * 32
RECORD = RecordMaker("asker").record(1_800_000_000)
NONCE = b"asker's "


@dataclass
class Neighbours:
    """Everybody is linked, each at a place of his own."""

    gone: set[bytes] = field(default_factory=set)
    hosts: dict[bytes, str] = field(default_factory=dict)

    def endpoint_of(self, identity: bytes) -> Endpoint:
        default = f"5.{identity[0]}.{identity[1]}.1"
        return Endpoint(self.hosts.get(identity, default), 4000 + identity[0])

    def record_of(self, identity: bytes) -> PeerRecord | None:
        return None if identity in self.gone else RECORD


@dataclass
class Middle:
    """An introducer under test."""

    neighbours: Neighbours = field(default_factory=Neighbours)
    has_prefix_limits: bool = True

    def __post_init__(self) -> None:
        numbers = itertools.count()
        self.machine = Introducer(
            self.neighbours,
            lambda size: next(numbers).to_bytes(size, "big"),
            has_prefix_limits=self.has_prefix_limits,
        )

    def says(self, neighbour: bytes, frame: Frame, now: float = 0.0) -> list[tuple[bytes, Frame]]:
        return self.machine.receive(neighbour, frame, now)

    def hold(self, relay: bytes = RELAY) -> HeldStatus:
        [(to, answer)] = self.says(relay, Hold())
        assert to == relay
        assert isinstance(answer, Held)
        return answer.status

    def ask(self, asker: bytes = ASKER, relay: bytes = RELAY, now: float = 0.0) -> tuple[bytes, Frame]:
        [out] = self.says(asker, Introduce(NONCE, relay, Flags.BEHIND), now)
        return out


def test_a_relay_that_asks_is_held_and_told_where_it_is_seen() -> None:
    middle = Middle()
    assert middle.says(RELAY, Hold()) == [(RELAY, Held(HeldStatus.HELD, Endpoint("5.82.82.1", 4082)))]
    assert middle.hold() is HeldStatus.HELD
    assert middle.machine.held == 1


def test_a_call_goes_to_the_relay_and_its_answer_to_who_asked() -> None:
    middle = Middle()
    middle.hold()
    to, call = middle.ask()
    assert to == RELAY
    assert isinstance(call, Call)
    assert (call.record, call.endpoint, call.flags) == (
        RECORD.encoded,
        Endpoint("5.65.65.1", 4065),
        Flags.BEHIND,
    )
    assert call.nonce != NONCE
    assert middle.says(RELAY, Answer(call.nonce, AnswerStatus.DIALLING, Endpoint("9.9.9.9", 9))) == [
        (ASKER, Answer(NONCE, AnswerStatus.DIALLING))
    ]
    assert middle.says(RELAY, Answer(call.nonce, AnswerStatus.DIALLING)) == []  # once


def test_of_two_who_dial_at_once_each_is_told_where_the_other_is_really_seen() -> None:
    middle = Middle()
    middle.hold()
    _, call = middle.ask()
    assert isinstance(call, Call)
    [(_, answer)] = middle.says(RELAY, Answer(call.nonce, AnswerStatus.PUNCHING, Endpoint("9.9.9.9", 9)))
    assert answer == Answer(NONCE, AnswerStatus.PUNCHING, Endpoint("5.82.82.1", 4082))


def test_nobody_is_called_who_did_not_ask_to_be_held_or_left() -> None:
    middle = Middle()
    refused = (ASKER, Answer(NONCE, AnswerStatus.NOT_HERE))
    assert middle.ask() == refused
    middle.hold()
    assert middle.ask(asker=RELAY) == (RELAY, Answer(NONCE, AnswerStatus.NOT_HERE))
    middle.neighbours.gone.add(ASKER)
    assert middle.ask() == refused
    middle.neighbours.gone.clear()
    middle.machine.left(RELAY)
    assert middle.ask() == refused


def test_answers_of_others_and_late_ones_are_passed_over() -> None:
    middle = Middle()
    middle.hold()
    _, call = middle.ask()
    assert isinstance(call, Call)
    assert middle.says(OTHER, Answer(call.nonce, AnswerStatus.DIALLING)) == []
    assert middle.says(RELAY, Answer(bytes(8), AnswerStatus.REFUSED), PENDING_S) == []
    assert middle.says(RELAY, Answer(call.nonce, AnswerStatus.DIALLING), PENDING_S) == []


def test_one_asker_has_its_limit_whomever_it_asks_for() -> None:
    middle = Middle(has_prefix_limits=False)
    relays = [bytes((number, 2)) * 16 for number in range(int(ASKED_BURST) + 1)]
    for relay in relays:
        middle.hold(relay)
    limit = Answer(NONCE, AnswerStatus.LIMIT)
    said = [middle.ask(relay=relay)[1] for relay in relays]
    assert [frame == limit for frame in said] == [False] * int(ASKED_BURST) + [True]
    assert middle.ask(now=2.0)[1] != limit  # it comes back


def test_a_few_liars_leave_calls_to_a_relay_for_others() -> None:
    """They ask without end, from three networks with many identities each: who comes late is served."""
    middle = Middle()
    middle.hold()
    liars = [bytes((100 + net, 1, number)) + bytes(29) for net in range(3) for number in range(20)]
    served = 0
    for second in range(300):
        for liar in liars:
            served += isinstance(middle.ask(asker=liar, now=float(second))[1], Call)
        if second % 10 == 9:
            honest = bytes((200, second // 10)) + bytes(30)  # of a network of its own
            assert isinstance(middle.ask(asker=honest, now=float(second))[1], Call)
    assert served <= 3 * (SHARE_BURST + 0.2 * 300)
    assert KEPT < CALLED_BURST


def test_questions_under_way_are_limited_in_all() -> None:
    middle = Middle(has_prefix_limits=False)
    relays = [number.to_bytes(32, "big") for number in range(1, 1 + MAX_PENDING // 8)]
    for relay in relays:
        middle.hold(relay)
    askers = [bytes((number,)) * 32 for number in range(100, 100 + len(relays))]
    for place, asker in enumerate(askers):
        for step in range(8):
            assert isinstance(middle.ask(asker, relays[(place + step) % len(relays)])[1], Call)
    late = b"late" * 8
    assert middle.ask(late, relays[0]) == (late, Answer(NONCE, AnswerStatus.LIMIT))
    assert isinstance(middle.ask(late, relays[0], PENDING_S)[1], Call)


def test_only_so_many_are_held_and_few_of_one_network() -> None:
    middle = Middle()
    near = [number.to_bytes(32, "big") for number in range(MAX_HELD_PER_PREFIX + 1)]
    middle.neighbours.hosts = dict.fromkeys(near, "5.5.5.5")
    said = [middle.hold(relay) for relay in near]
    assert said == [HeldStatus.HELD] * MAX_HELD_PER_PREFIX + [HeldStatus.FULL]
    private = Middle(has_prefix_limits=False)
    said = [private.hold(number.to_bytes(32, "big")) for number in range(MAX_HELD + 1)]
    assert said == [HeldStatus.HELD] * MAX_HELD + [HeldStatus.FULL]


@pytest.mark.parametrize("frame", [Held(HeldStatus.HELD), Call(NONCE, b"record")])
def test_what_is_not_for_an_introducer_is_the_neighbours_fault(frame: Frame) -> None:
    with pytest.raises(RemoteProtocolError):
        Middle().says(RELAY, frame)
