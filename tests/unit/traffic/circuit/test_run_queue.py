"""Run queues: order, limits, the change budget, and what all of them may hold together."""

import pytest

from vigilnet.traffic.cell import CELL_SIZE, new_frame
from vigilnet.traffic.circuit.run_queue import MAX_QUEUE_OCTETS, QueueBudget, QueueFullError, RunQueue
from vigilnet.traffic.link.ports import RunReceiver, RunSource


class Port:
    """A link that only notes what is activated."""

    peer = None
    origin = ""
    is_initiator = True

    def __init__(self) -> None:
        self.active: list[RunSource] = []

    def activate(self, source: RunSource) -> None:
        self.active.append(source)

    def send_control(self, frame: memoryview) -> None: ...

    def set_receiver(self, receiver: RunReceiver) -> None: ...

    def close(self) -> None: ...


def make_queue(budget: QueueBudget | None = None) -> tuple[RunQueue, Port, list[float]]:
    port = Port()
    delays: list[float] = []
    shared = budget or QueueBudget(1 << 40, lambda: None)
    return RunQueue(port, 0.0, lambda _, delay: delays.append(delay), shared), port, delays


def test_runs_come_out_in_order_and_activate_the_link() -> None:
    queue, port, _ = make_queue()
    frames = [new_frame(1), new_frame(1)]
    for frame in frames:
        queue.push(frame, 1)
    assert port.active == [queue, queue]
    assert [queue.pull(0.0), queue.pull(0.0), queue.pull(0.0)] == [*frames, None]
    assert queue.octets == 0


def test_one_queue_is_bounded() -> None:
    queue, _, _ = make_queue()
    for _ in range(MAX_QUEUE_OCTETS // (7 * CELL_SIZE)):
        queue.push(new_frame(1), 7)
    with pytest.raises(QueueFullError):
        queue.push(new_frame(1), 7)


def test_the_fifth_change_of_length_waits_for_a_token_and_those_behind_it_too() -> None:
    queue, _, delays = make_queue()
    for cells in (7, 1, 7, 1, 7, 1):
        queue.push(new_frame(1), cells)
    assert all(queue.pull(0.0) is not None for _ in range(4))
    assert queue.pull(0.0) is None
    assert delays == [pytest.approx(1.0)]
    assert queue.pull(1.0) is not None
    assert queue.pull(1.5) is None
    assert queue.pull(2.0) is not None


def test_the_last_cell_closes_the_queue() -> None:
    queue, _, _ = make_queue()
    queue.push(new_frame(1), 1)
    last = new_frame(1)
    queue.push_last(last)
    queue.push(new_frame(1), 1)
    queue.push_last(new_frame(1))
    assert queue.pull(0.0) is not None
    assert queue.pull(0.0) is last
    assert queue.pull(0.0) is None


def test_the_tail_is_asked_when_nothing_waits() -> None:
    queue, _, _ = make_queue()
    frame = new_frame(1)

    class Tail:
        def pull(self, now: float) -> memoryview | None:
            return frame

    queue.tail = Tail()
    own = new_frame(1)
    queue.push(own, 1)
    assert queue.pull(0.0) is own
    assert queue.pull(0.0) is frame
    queue.clear()
    assert queue.pull(0.0) is None


def test_all_queues_together_are_bounded_and_the_oldest_is_found() -> None:
    relieved: list[int | None] = []

    def relieve() -> None:
        relieved.append(first.waiting_since)
        first.clear()

    budget = QueueBudget(3 * CELL_SIZE, relieve)
    first, _, _ = make_queue(budget)
    second, _, _ = make_queue(budget)
    first.push(new_frame(1), 1)
    second.push(new_frame(1), 1)
    second.push(new_frame(1), 1)
    assert not relieved
    second.push(new_frame(1), 1)
    assert relieved == [1]
    assert second.waiting_since == 2
    assert budget.used == 3 * CELL_SIZE
    while second.pull(0.0) is not None:
        pass
    assert budget.used == 0
    assert second.waiting_since is None
