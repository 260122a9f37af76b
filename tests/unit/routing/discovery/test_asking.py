"""Nothing is asked of two at once, and nobody can keep an item from us by promising it."""

from vigilnet.peer.sources import CHECKS_PER_SOURCE_S, Source
from vigilnet.peer.view import PeerView
from vigilnet.routing.discovery.asking import HURRY, MAX_ALTERNATES, Asking
from vigilnet.routing.discovery.neighbour import MAX_QUEUE, WINDOW, Neighbour
from vigilnet.routing.discovery.stock import Stock
from vigilnet.routing.discovery.wire import pack_entry

ASK_S = 10.0


class Setting:
    """Three neighbours, and what each was asked."""

    def __init__(self, work_bits: int = 0) -> None:
        self.neighbours: dict[bytes, Neighbour] = {}
        self.sent: list[tuple[str, bytes]] = []
        stock = Stock(PeerView(work_bits=work_bits), bytes, has_prefix_limits=False)
        self.asking = Asking(stock, self.neighbours, self._send, ASK_S)
        self.a, self.b, self.c = (self._neighbour(name) for name in "abc")

    def _neighbour(self, name: str) -> Neighbour:
        identity = name.encode() * 32
        neighbour = Neighbour.at(identity, Source(name), 0.0, is_ours=True, is_partner=True)
        self.neighbours[identity] = neighbour
        return neighbour

    def _send(self, neighbour: Neighbour, keys: tuple[bytes, ...], now: float) -> None:
        self.sent += [(neighbour.source.key, key) for key in keys]

    def asked(self) -> list[tuple[str, bytes]]:
        sent, self.sent = self.sent, []
        return sent


def entry(number: int, version: int = 1) -> bytes:
    return pack_entry(number.to_bytes(8, "big"), version)


KEY = entry(7)[:8]


def test_the_first_who_has_it_is_asked_and_the_next_when_time_is_over() -> None:
    net = Setting()
    net.asking.want(net.a, [entry(7)], 0.0)
    net.asking.want(net.b, [entry(7)], 0.0)
    net.asking.want(net.c, [entry(7)], 0.0)
    assert net.asked() == [("a", KEY)]
    net.asking.overdue(ASK_S - 1)
    assert net.asked() == []
    net.asking.overdue(ASK_S)
    assert net.asked() == [("b", KEY)]


def test_a_newer_version_is_asked_for_although_an_older_one_is_under_way() -> None:
    net = Setting()
    net.asking.want(net.a, [entry(7, 1)], 0.0)
    net.asking.want(net.b, [entry(7, 2)], 0.0)
    assert net.asked() == [("a", KEY), ("b", KEY)]
    assert (net.a.asked, net.b.asked) == (0, 1)
    net.asking.came(KEY, 1, net.a)
    assert len(net.asking) == 1


def test_what_came_is_not_asked_again() -> None:
    net = Setting()
    net.asking.want(net.a, [entry(7)], 0.0)
    net.asking.want(net.b, [entry(7)], 0.0)
    net.asking.came(KEY, 1, net.a)
    net.asking.overdue(100.0)
    assert net.asked() == [("a", KEY)]
    assert len(net.asking) == 0


def test_an_older_version_than_asked_does_not_count_as_delivered() -> None:
    net = Setting()
    net.asking.want(net.a, [entry(7, 5)], 0.0)
    net.asking.came(KEY, 4, net.a)
    assert len(net.asking) == 1


def test_a_neighbour_that_leaves_is_replaced_at_once() -> None:
    net = Setting()
    net.asking.want(net.a, [entry(7)], 0.0)
    net.asking.want(net.b, [entry(7)], 0.0)
    del net.neighbours[net.a.identity]
    net.asking.left(net.a, 1.0)
    assert net.asked() == [("a", KEY), ("b", KEY)]


def test_those_who_left_or_are_muted_are_not_asked_in_the_place_of_others() -> None:
    net = Setting()
    for neighbour in (net.a, net.b, net.c):
        net.asking.want(neighbour, [entry(7)], 0.0)
    del net.neighbours[net.b.identity]
    net.c.muted_until = 100.0
    net.asking.overdue(ASK_S)
    assert net.asked() == [("a", KEY)]
    assert len(net.asking) == 0  # the next comparison finds it again


def test_no_more_is_under_way_than_the_window() -> None:
    net = Setting()
    net.asking.want(net.a, [entry(number) for number in range(1000)], 0.0)
    assert len(net.asked()) == WINDOW
    assert net.a.asked == WINDOW
    net.asking.came(entry(0)[:8], 1, net.a)
    net.a.asked -= 1
    net.asking.ask(net.a, 0.1)
    assert net.asked() == [("a", entry(WINDOW)[:8])]


def test_promises_beyond_the_queue_are_ignored() -> None:
    net = Setting()
    net.asking.want(net.a, [entry(number) for number in range(MAX_QUEUE + 500)], 0.0)
    assert len(net.a.queue) + WINDOW == MAX_QUEUE
    for number in range(MAX_ALTERNATES + 5):
        net.neighbours[bytes([number]) * 32] = net.b
        net.b.identity = bytes([number]) * 32
        net.asking.want(net.b, [entry(0)], 0.0)
    assert len(net.asking._asked[entry(0)[:8]].others) == MAX_ALTERNATES


def test_strangers_are_asked_for_as_fast_as_their_work_may_be_checked() -> None:
    net = Setting(work_bits=12)
    net.asking.want(net.a, [entry(number) for number in range(100)], 0.0)
    assert len(net.asked()) == CHECKS_PER_SOURCE_S
    net.asking.ask(net.a, 0.4)
    assert len(net.asked()) == 2
    net.asking.want(net.b, [entry(number) for number in range(100, 200)], 0.4)
    assert len(net.asked()) == CHECKS_PER_SOURCE_S


def test_what_could_not_be_judged_yet_is_asked_for_again_at_that_pace() -> None:
    net = Setting()
    net.a.strangers.take(CHECKS_PER_SOURCE_S, 0.0)
    net.asking.want(net.a, [entry(7)], 0.0)
    assert net.asked() == [("a", KEY)]
    net.asking.came(KEY, 1, net.a)
    net.asking.put_off(net.a, KEY, 1)
    net.asking.ask(net.a, 0.1)
    assert net.asked() == []
    net.asking.ask(net.a, 0.3)
    assert net.asked() == [("a", KEY)]


def test_memory_for_what_was_put_off_is_bounded() -> None:
    net = Setting()
    for number in range(2 * MAX_QUEUE):
        net.asking.put_off(net.a, entry(number)[:8], 1)
    assert len(net.asking._later) <= MAX_QUEUE
    net.neighbours.clear()
    net.asking.left(net.a, 1.0)
    assert not net.asking._later


def test_all_who_announced_it_are_asked_in_turn() -> None:
    net = Setting()
    for neighbour in (net.a, net.b, net.c):
        net.asking.want(neighbour, [entry(7)], 0.0)
    for now in (ASK_S, 2 * ASK_S):
        net.asking.overdue(now)
    assert net.asked() == [("a", KEY), ("b", KEY), ("c", KEY)]


def test_who_did_not_deliver_is_given_less_time_until_it_does() -> None:
    net = Setting()
    net.asking.want(net.a, [entry(7)], 0.0)
    net.asking.overdue(ASK_S)
    net.asking.want(net.a, [entry(8)], 100.0)
    net.asking.want(net.b, [entry(9)], 100.0)
    net.asking.overdue(100.0 + ASK_S / HURRY)
    assert net.a.asked == 0
    assert net.b.asked == 1
    net.asking.want(net.a, [entry(10)], 200.0)
    net.asking.came(entry(10)[:8], 1, net.b)
    assert net.a.broken == 2
    net.asking.want(net.a, [entry(11)], 200.0)
    net.asking.came(entry(11)[:8], 1, net.a)
    assert net.a.broken == 0


def test_who_keeps_its_word_is_asked_at_once_in_place_of_who_does_not() -> None:
    net = Setting()
    net.a.broken = 1
    net.asking.want(net.a, [entry(7)], 0.0)
    net.asking.want(net.b, [entry(7)], 0.0)
    net.asking.want(net.c, [entry(7)], 0.0)
    net.asking.want(net.c, [entry(7)], 0.0)
    assert net.asked() == [("a", KEY), ("b", KEY)]
    net.asking.overdue(ASK_S)
    net.asking.overdue(2 * ASK_S)
    assert net.asked() == [("c", KEY)]
