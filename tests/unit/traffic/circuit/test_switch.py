"""The tables of one link: which circuit a run belongs to, and whose fault a wrong one is."""

from collections.abc import Callable

import pytest

from tests.support.deterministic import counted_bytes
from tests.support.links import make_frame
from vigilnet.base.errors import RemoteProtocolError, VigilnetError
from vigilnet.traffic.cell import CELL_SIZE, RUN_AT, Command
from vigilnet.traffic.circuit import switch
from vigilnet.traffic.circuit.messages import DestroyReason, PuzzleDemand, Refusal
from vigilnet.traffic.circuit.switch import LinkCircuits, destroy_frame
from vigilnet.traffic.link.ports import LinkPort, RunReceiver, RunSource

THEIRS = 0x8000_0001  # ids of the link's initiator, which the neighbour is
OURS = 0x0000_0001


class FakePort:
    """A LinkPort that keeps what it is given."""

    def __init__(self, *, is_initiator: bool = False, peer: bytes | None = b"p" * 32) -> None:
        self.peer = peer
        self.origin = "" if peer is None else peer.hex()
        self.is_initiator = is_initiator
        self.sent: list[bytes] = []
        self.active: list[RunSource] = []

    def activate(self, source: RunSource) -> None:
        self.active.append(source)

    def send_control(self, frame: memoryview) -> None:
        self.sent.append(bytes(frame[RUN_AT:-16]))

    def set_receiver(self, receiver: RunReceiver) -> None:
        pass

    def close(self) -> None:
        pass


class FakeSide:
    """A Side that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.error: Exception | None = None
        self.on_call: Callable[[], None] = lambda: None

    def _note(self, what: object) -> None:
        self.told.append(what)
        self.on_call()
        if self.error is not None:
            raise self.error

    def relay(self, run: memoryview, cells: int, now: float) -> None:
        self._note((bytes(run), cells))

    def created(self, body: memoryview) -> None:
        self._note(("created", bytes(body[:4])))

    def destroyed(self, refusal: Refusal) -> None:
        self._note(refusal)

    def fault(self, error: VigilnetError) -> None:
        self.told.append(error)

    def link_closed(self) -> None:
        self._note("link closed")


class Host:
    def __init__(self) -> None:
        self.creates: list[tuple[int, bytes]] = []
        self.cancelled: list[int] = []
        self.lost = 0

    def create_received(self, link: LinkCircuits, circuit_id: int, body: bytes) -> None:
        self.creates.append((circuit_id, body))

    def create_cancelled(self, link: LinkCircuits, circuit_id: int) -> None:
        self.cancelled.append(circuit_id)

    def link_lost(self, link: LinkCircuits) -> None:
        self.lost += 1


class Switch:
    """One table with fakes around it."""

    def __init__(self, *, is_initiator: bool = False) -> None:
        self.host = Host()
        self.port = FakePort(is_initiator=is_initiator)
        port: LinkPort = self.port
        self.place = LinkCircuits(self.host, port, lambda: 5.0, counted_bytes())

    def add(self, circuit_id: int = THEIRS) -> FakeSide:
        side = FakeSide()
        self.place.add(circuit_id, side)
        return side

    def receive(
        self, circuit: int = THEIRS, cells: int = 1, command: int = Command.RELAY, fill: int = 7
    ) -> None:
        run = make_frame(circuit, cells, command, fill)[RUN_AT:-16]
        self.receive_run(bytearray(run))

    def receive_run(self, run: bytearray) -> None:
        self.place.run_received(memoryview(run), 0, len(run) // CELL_SIZE)


@pytest.mark.parametrize("cells", [1, 7])
def test_a_run_goes_to_its_circuit_alone(cells: int) -> None:
    table = Switch()
    first, second = table.add(THEIRS), table.add(THEIRS + 1)
    table.receive(THEIRS + 1, cells)
    assert not first.told
    expected = bytes(make_frame(THEIRS + 1, cells, fill=7)[RUN_AT:-16])
    assert second.told == [(expected, cells)]


@pytest.mark.parametrize("command", [Command.RELAY, Command.CREATED, Command.DESTROY, Command.PADDING])
def test_what_comes_for_an_unknown_circuit_is_dropped(command: Command) -> None:
    table = Switch()
    table.receive(THEIRS, 1, command)
    table.receive(OURS, 1, command)
    assert not table.port.sent


@pytest.mark.parametrize("at", range(6, 16))
def test_reserved_octet_set_closes_the_link(at: int) -> None:
    table = Switch()
    side = table.add()
    run = bytearray(make_frame(THEIRS)[RUN_AT:-16])
    run[at] = 1
    with pytest.raises(RemoteProtocolError):
        table.receive_run(run)
    assert not side.told


def test_announced_length_that_is_not_the_run_s_closes_the_link() -> None:
    table = Switch()
    run = bytearray(make_frame(THEIRS)[RUN_AT:-16])
    run[5] = 7
    with pytest.raises(RemoteProtocolError):
        table.receive_run(run)


@pytest.mark.parametrize(
    "command", [Command.PADDING, Command.CREATE, Command.CREATED, Command.DESTROY, 5, 255]
)
def test_only_relay_may_have_seven_cells(command: int) -> None:
    with pytest.raises(RemoteProtocolError):
        Switch().receive(THEIRS, 7, command)


@pytest.mark.parametrize("command", [5, 6, 255])
def test_unknown_command_closes_the_link(command: int) -> None:
    with pytest.raises(RemoteProtocolError):
        Switch().receive(THEIRS, 1, command)


@pytest.mark.parametrize(
    ("is_initiator", "circuit", "is_right"),
    [
        (False, THEIRS, True),
        (False, OURS, False),
        (True, OURS, True),
        (True, THEIRS, False),
        (False, 0, False),
        (True, 0, False),
    ],
)
def test_create_from_the_wrong_half_closes_the_link(is_initiator: bool, circuit: int, is_right: bool) -> None:
    table = Switch(is_initiator=is_initiator)
    if is_right:
        table.receive(circuit, 1, Command.CREATE)
        assert [made for made, _ in table.host.creates] == [circuit]
    else:
        with pytest.raises(RemoteProtocolError):
            table.receive(circuit, 1, Command.CREATE)


def test_create_on_an_id_in_use_ends_that_circuit_and_no_other() -> None:
    table = Switch()
    victim, other = table.add(THEIRS), table.add(THEIRS + 1)
    table.receive(THEIRS, 1, Command.CREATE)
    assert isinstance(victim.told[0], RemoteProtocolError)
    assert not other.told
    assert not table.host.creates


def test_create_on_an_id_used_before_is_answered_by_destroy() -> None:
    table = Switch()
    table.add(THEIRS)
    table.place.remove(THEIRS)
    table.receive(THEIRS, 1, Command.CREATE)
    assert not table.host.creates
    assert [(run[:4], run[4]) for run in table.port.sent] == [(THEIRS.to_bytes(4, "big"), Command.DESTROY)]


def test_create_twice_while_the_first_waits_cancels_both() -> None:
    table = Switch()
    table.receive(THEIRS, 1, Command.CREATE)
    table.receive(THEIRS, 1, Command.CREATE)
    assert len(table.host.creates) == 1
    assert table.host.cancelled == [THEIRS]
    assert [run[4] for run in table.port.sent] == [Command.DESTROY]


def test_destroy_of_a_circuit_that_waits_cancels_it() -> None:
    table = Switch()
    table.receive(THEIRS, 1, Command.CREATE)
    table.receive(THEIRS, 1, Command.DESTROY)
    assert table.host.cancelled == [THEIRS]
    assert not table.port.sent


def test_error_of_a_circuit_stays_with_that_circuit() -> None:
    table = Switch()
    victim, other = table.add(THEIRS), table.add(THEIRS + 1)
    victim.error = RemoteProtocolError("test: the circuit's own")
    table.receive(THEIRS)
    table.receive(THEIRS, 1, Command.CREATED)
    assert victim.told.count(victim.error) == 2
    table.receive(THEIRS + 1)
    assert len(other.told) == 1


def test_error_of_a_circuit_that_closed_meanwhile_leaves_the_link_alone() -> None:
    table = Switch()
    side = table.add(THEIRS)
    side.error = RemoteProtocolError("test: after the circuit was closed by its own user")
    side.on_call = lambda: table.place.remove(THEIRS)
    table.receive(THEIRS)


@pytest.mark.parametrize("command", [Command.RELAY, Command.CREATED, Command.DESTROY])
def test_our_own_bug_in_one_circuit_leaves_the_link_alone(command: Command) -> None:
    table = Switch()
    side, other = table.add(THEIRS), table.add(THEIRS + 1)
    side.error = ValueError("test: a bug that a remote client may know how to reach")
    table.receive(THEIRS, 1, command)
    side.error = None
    assert isinstance(side.told[-1], VigilnetError)
    table.receive(THEIRS + 1)
    assert len(other.told) == 1


def test_destroy_frees_the_circuit_before_it_is_told() -> None:
    table = Switch()
    side = table.add(THEIRS)
    refusal = Refusal(DestroyReason.PUZZLE, PuzzleDemand(b"s" * 16, 77))
    run = bytearray(destroy_frame(THEIRS, refusal)[RUN_AT:-16])
    side.on_call = lambda: side.told.append(table.place.circuits)
    table.receive_run(run)
    assert side.told == [refusal, 0]
    table.receive(THEIRS)
    assert len(side.told) == 2


@pytest.mark.parametrize(
    "body", [b"\xff\x00", b"\x03\x00", b"\x01\xff", b"\x00\x14" + bytes(20), b"\x03\x13" + bytes(19)]
)
def test_unreadable_destroy_counts_as_protocol(body: bytes) -> None:
    table = Switch()
    side = table.add(THEIRS)
    run = bytearray(make_frame(THEIRS, 1, Command.DESTROY)[RUN_AT:-16])
    run[16 : 16 + len(body)] = body
    table.receive_run(run)
    assert side.told == [Refusal(DestroyReason.PROTOCOL)]


def test_lost_link_tells_every_circuit_even_if_one_fails() -> None:
    table = Switch()
    sides = [table.add(THEIRS + number) for number in range(3)]
    sides[0].error = RemoteProtocolError("test: a circuit that cannot bear it")
    sides[1].error = ValueError("test: a bug")
    table.place.link_closed()
    assert all(side.told[0] == "link closed" for side in sides)
    assert table.host.lost == 1
    assert table.place.circuits == 0


def test_nothing_is_sent_on_a_lost_link() -> None:
    table = Switch()
    table.add(THEIRS)
    table.place.link_closed()
    table.place.destroy(THEIRS, Refusal(DestroyReason.CLOSED))
    assert not table.port.sent


@pytest.mark.parametrize("is_initiator", [True, False])
def test_new_ids_are_of_our_half_and_never_repeat(is_initiator: bool) -> None:
    table = Switch(is_initiator=is_initiator)
    made = set()
    for _ in range(500):
        circuit_id = table.place.new_id()
        assert circuit_id
        assert bool(circuit_id & 0x8000_0000) == is_initiator
        table.place.add(circuit_id, FakeSide())
        table.place.remove(circuit_id)
        made.add(circuit_id)
    assert len(made) == 500


def test_new_id_that_cannot_be_found_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Switch()
    monkeypatch.setattr(table.place, "_random_bytes", bytes)
    with pytest.raises(VigilnetError):
        table.place.new_id()


def test_memory_of_used_ids_is_bounded_also_when_all_of_them_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switch, "MAX_USED_IDS", 8)
    table = Switch()
    for number in range(30):
        table.add(THEIRS + number)
    assert len(table.place._used) <= 8
    table.receive(THEIRS, 1, Command.CREATE)  # forgotten as used, yet alive: still refused
    assert not table.host.creates
    assert table.place.circuits == 30
