"""Who sends next: control, then quiet circuits, then bulk; and what is forgotten when."""

from hypothesis import given
from hypothesis import strategies as st

from tests.support.links import ListSource, make_frame
from vigilnet.traffic.link.scheduler import (
    HALF_LIFE_S,
    MAX_CONTROL,
    MAX_REMEMBERED,
    RUNS_PER_TURN,
    Scheduler,
)

BIG = 1 << 30


class Endless:
    """A source that always has a run of `cells` cells."""

    def __init__(self, cells: int = 7) -> None:
        self.frame = make_frame(cells=cells)
        self.pulled = 0

    def pull(self, now: float) -> memoryview | None:
        self.pulled += 1
        return self.frame


def test_nothing_to_do_gives_nothing() -> None:
    scheduler = Scheduler(0.0)
    assert not scheduler.has_work
    assert scheduler.gather(0.0, BIG, 64) == []


def test_a_source_is_pulled_until_it_has_nothing_and_then_forgotten() -> None:
    scheduler, source = Scheduler(0.0), ListSource(*(make_frame(fill=n) for n in range(10)))
    expected = list(source.frames)
    assert scheduler.activate(source)
    assert not scheduler.activate(source)
    assert scheduler.gather(0.0, BIG, 64) == expected
    assert not scheduler.has_work
    source.frames.append(make_frame())
    assert scheduler.gather(0.0, BIG, 64) == []
    assert scheduler.activate(source)
    assert len(scheduler.gather(0.0, BIG, 64)) == 1


def test_control_goes_first_and_within_the_batch() -> None:
    scheduler = Scheduler(0.0)
    scheduler.activate(Endless())
    control = [make_frame(command=4, fill=n) for n in range(5)]
    for frame in control:
        assert scheduler.add_control(frame)
    assert scheduler.gather(0.0, BIG, 3) == control[:3]
    gathered = scheduler.gather(0.0, BIG, 6)
    assert gathered[:2] == control[3:]
    assert len(gathered) == 6


def test_control_is_bounded() -> None:
    scheduler, frame = Scheduler(0.0), make_frame()
    assert all(scheduler.add_control(frame) for _ in range(MAX_CONTROL))
    assert not scheduler.add_control(frame)


def test_batch_ends_by_octets_and_by_frames() -> None:
    scheduler, bulk = Scheduler(0.0), Endless()
    scheduler.activate(bulk)
    assert len(scheduler.gather(0.0, BIG, 64)) == 64
    by_octets = scheduler.gather(0.0, 10 * len(bulk.frame), 64)
    assert len(by_octets) == 12  # whole turns of 4
    assert scheduler.has_work


def test_equal_sources_take_turns() -> None:
    scheduler, sources = Scheduler(0.0), [Endless() for _ in range(4)]
    for source in sources:
        scheduler.activate(source)
    scheduler.gather(0.0, BIG, 64)
    assert [source.pulled for source in sources] == [16] * 4
    assert RUNS_PER_TURN == 4


def test_a_quiet_circuit_goes_before_bulk() -> None:
    scheduler, bulk = Scheduler(0.0), Endless()
    scheduler.activate(bulk)
    for n in range(20):
        scheduler.gather(n * 0.01, BIG, 64)
    echo = ListSource(make_frame(circuit=9))
    expected = echo.frames[0]
    scheduler.activate(echo)
    assert scheduler.gather(0.3, BIG, 64)[0] is expected
    echo.frames.append(make_frame(circuit=9))
    scheduler.activate(echo)
    assert scheduler.gather(0.31, BIG, 64)[0].tobytes()[6:12] == b"\0\0\0\x09\3\1"


def test_what_was_sent_is_halved_every_half_life() -> None:
    scheduler, early, late = Scheduler(0.0), Endless(), Endless()
    scheduler.activate(early)
    scheduler.gather(0.0, BIG, 64)
    scheduler._heap.clear()
    scheduler.active.clear()
    scheduler.activate(late)
    scheduler.gather(HALF_LIFE_S, BIG, 32)  # half as much, one half-life later: as if it were all the same
    assert scheduler._sent[late] == scheduler._sent[early]


def test_order_survives_a_new_base_and_idle_sources_are_forgotten() -> None:
    scheduler, busy, once = Scheduler(0.0), Endless(), ListSource(make_frame())
    scheduler.activate(once)
    scheduler.activate(busy)
    scheduler.gather(0.0, BIG, 64)
    assert set(scheduler._sent) == {busy, once}
    scheduler.gather(1000.0, BIG, 8)
    assert set(scheduler._sent) == {busy}
    fresh = Endless()
    scheduler.activate(fresh)
    for n in range(10):
        scheduler.gather(1000.0 + n, BIG, 8)
    assert abs(fresh.pulled - (busy.pulled - 64)) <= 2 * RUNS_PER_TURN


def test_a_very_long_silence_is_no_trouble() -> None:
    scheduler, source = Scheduler(0.0), Endless()
    scheduler.activate(source)
    scheduler.gather(0.0, BIG, 8)
    assert len(scheduler.gather(1e9, BIG, 8)) == 8


def test_many_short_circuits_do_not_fill_the_memory() -> None:
    scheduler, frame = Scheduler(0.0), make_frame()
    for n in range(MAX_REMEMBERED + 2000):
        scheduler.activate(ListSource(frame))
        scheduler.gather(n * 1e-4, BIG, 8)
    assert len(scheduler._sent) <= MAX_REMEMBERED + 1


def test_clear_forgets_everything() -> None:
    scheduler, source = Scheduler(0.0), Endless()
    scheduler.activate(source)
    scheduler.add_control(make_frame())
    scheduler.clear()
    assert not scheduler.has_work
    assert scheduler.gather(0.0, BIG, 8) == []
    assert scheduler.activate(source)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=12), st.integers(1, 64), st.integers(1, 300_000))
def test_every_frame_is_sent_once_and_in_its_circuits_order(
    sizes: list[int], frames: int, octets: int
) -> None:
    scheduler = Scheduler(0.0)
    sources = [
        ListSource(*(make_frame(circuit=index + 1, fill=n) for n in range(size)))
        for index, size in enumerate(sizes)
    ]
    expected = {index + 1: [bytes(frame) for frame in source.frames] for index, source in enumerate(sources)}
    for source in sources:
        scheduler.activate(source)
    sent: dict[int, list[bytes]] = {circuit: [] for circuit in expected}
    now = 0.0
    while scheduler.has_work:
        batch = scheduler.gather(now, octets, frames)
        assert len(batch) <= frames
        for frame in batch:
            sent[int.from_bytes(frame[6:10], "big")].append(bytes(frame))
        now += 0.5
    assert sent == expected
