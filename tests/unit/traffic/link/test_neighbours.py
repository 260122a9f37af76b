"""Back-off after failed dials, and what relays say about our clock."""

from tests.support.links import seeded_random
from vigilnet.traffic.link.neighbours import MAX_BACK_OFFS, MAX_CLOCKS, BackOffs, ClockOffsets
from vigilnet.traffic.link.options import Options

PEER = b"p" * 32


def test_back_off_doubles_to_its_limit_with_some_chance_in_it() -> None:
    offs = BackOffs(Options(), seeded_random("off"))
    assert offs.wait_s(PEER, 0.0) == 0.0
    waits = []
    for _ in range(12):
        offs.failed(PEER, 100.0)
        waits.append(offs.wait_s(PEER, 100.0))
    longest = [min(60.0, 0.5 * 2.0**n) for n in range(12)]
    assert all(most / 2 <= wait <= most for wait, most in zip(waits, longest, strict=True))
    assert len(set(waits)) == 12
    assert offs.failures(PEER) == 12
    assert offs.wait_s(PEER, 200.0) == 0.0
    for _ in range(2000):
        offs.failed(PEER, 0.0)
    assert offs.wait_s(PEER, 0.0) <= 60.0


def test_success_and_a_new_network_forget_failures() -> None:
    offs = BackOffs(Options(), seeded_random("off"))
    offs.failed(PEER, 0.0)
    offs.succeeded(PEER)
    offs.succeeded(PEER)
    assert offs.failures(PEER) == 0
    offs.failed(PEER, 0.0)
    offs.clear()
    assert offs.wait_s(PEER, 0.0) == 0.0


def test_back_offs_are_bounded() -> None:
    offs = BackOffs(Options(), seeded_random("off"))
    for n in range(MAX_BACK_OFFS + 10):
        offs.failed(n.to_bytes(32, "big"), 0.0)
    assert len(offs) == MAX_BACK_OFFS


def test_one_or_two_clocks_say_nothing_and_a_liar_does_not_move_the_median() -> None:
    clocks = ClockOffsets()
    clocks.note(b"a", 1.0)
    clocks.note(b"b", 2.0)
    clocks.note(b"b", 2.5)
    assert clocks.median() is None
    clocks.note(b"liar", 1e9)
    assert clocks.median() == 2.5
    for n in range(100):
        clocks.note(bytes((n,)), 7.0)
    assert len(clocks._offsets) == MAX_CLOCKS
