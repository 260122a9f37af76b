"""Floods of handshakes: places, cookies, puzzles, keys used before."""

from dataclasses import replace

import pytest

from tests.support.links import seeded_random
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.link.admission import FIRST_EFFORT, MAX_USED, SECRET_LIFE_S, Admission, Ticket
from vigilnet.traffic.link.options import Options
from vigilnet.traffic.link.puzzle import Solver, puzzle_target
from vigilnet.traffic.link.wire import MAX_EFFORT, Hello, PuzzleKind, Retry, link_suite
from vigilnet.traffic.transport.carrier import CarrierKind

HERE = b"responder".ljust(32)
PLAIN = CarrierKind.PLAIN
HELLO = Hello(link_suite(2))


class Evicted(list[str]):
    """Which hosts were evicted."""


def fresh(*, max_unfinished: int = 256, cookie_above_unfinished: int = 64) -> Admission:
    options = Options(max_unfinished=max_unfinished, cookie_above_unfinished=cookie_above_unfinished)
    return Admission(options, HERE, "", seeded_random("admission"), 0.0)


def enter(
    admission: Admission, host: str = "192.0.2.1", now: float = 0.0, evicted: Evicted | None = None
) -> Ticket:
    ticket = admission.enter(host, now, lambda: None if evicted is None else evicted.append(host))
    assert ticket is not None
    return ticket


def fill(admission: Admission, count: int, now: float = 0.0) -> list[Ticket]:
    return [enter(admission, f"10.{n // 256}.{n % 256}.1", now) for n in range(count)]


def e(number: int) -> bytes:
    return number.to_bytes(32, "big")


def retried(retry: Retry, ephemeral: bytes) -> Hello:
    """The hello that an honest client sends after `retry`."""
    if retry.puzzle is PuzzleKind.NONE:
        return replace(HELLO, cookie=retry.cookie)
    solver = Solver(puzzle_target(HERE, retry.cookie, ephemeral), retry.seed, retry.effort)
    nonce = None
    while nonce is None:
        nonce = solver.search(10_000)
    return replace(HELLO, cookie=retry.cookie, solution=retry.seed[:4] + nonce)


def test_without_load_nothing_is_asked_and_nothing_kept() -> None:
    admission = fresh()
    fill(admission, 64)
    ticket = enter(admission)
    admission.leave(ticket)
    for n in range(100):
        assert admission.judge(ticket, HELLO, e(1), PLAIN, n * 10.0) is None
    assert not admission._current.used


def test_above_64_unfinished_a_cookie_is_asked() -> None:
    admission = fresh()
    tickets = fill(admission, 64)
    assert not admission.is_loaded(5.0)
    ticket = enter(admission, now=5.0)
    retry = admission.judge(ticket, HELLO, e(1), PLAIN, 5.0)
    assert retry is not None
    assert (retry.puzzle, retry.effort) == (PuzzleKind.NONE, 0)
    assert admission.judge(ticket, retried(retry, e(2)), e(2), PLAIN, 5.1) is None
    admission.leave(tickets[0])
    assert not admission.is_loaded(5.0)


def test_above_200_a_second_a_cookie_is_asked() -> None:
    admission = fresh()
    for n in range(200):
        admission.leave(enter(admission, now=n * 0.004))
    assert admission.is_loaded(0.99)
    assert not admission.is_loaded(1.01)


def test_a_cookie_serves_one_prefix_and_one_carrier_only() -> None:
    admission = fresh(cookie_above_unfinished=0)
    ticket = enter(admission, "192.0.2.1")
    retry = admission.judge(ticket, HELLO, e(1), PLAIN, 0.0)
    assert retry is not None
    hello = retried(retry, e(2))
    assert admission.judge(enter(admission, "192.0.2.99"), hello, e(2), PLAIN, 0.0) is None
    for host, carrier in [("192.0.3.1", PLAIN), ("2001:db8::1", PLAIN), ("192.0.2.1", CarrierKind.QUIC)]:
        assert admission.judge(enter(admission, host), hello, e(3), carrier, 0.0) is not None
    for at in range(32):
        bad = bytearray(retry.cookie)
        bad[at] ^= 1
        assert admission.judge(ticket, replace(HELLO, cookie=bytes(bad)), e(4), PLAIN, 0.0) is not None


def test_prefixes_are_24_bits_of_ipv4_and_48_of_ipv6() -> None:
    admission = fresh()
    prefixes = {
        host: enter(admission, host).prefix
        for host in ("192.0.2.1", "192.0.2.200", "::ffff:192.0.2.3", "2001:db8:1:2::1", "2001:db8:1:ffff::")
    }
    assert len(set(prefixes.values())) == 2


def test_cookies_live_between_two_and_four_minutes() -> None:
    admission = fresh(cookie_above_unfinished=0)
    ticket = enter(admission)
    retry = admission.judge(ticket, HELLO, e(0), PLAIN, 1.0)
    assert retry is not None
    hello = retried(retry, e(1))
    assert admission.judge(ticket, hello, e(1), PLAIN, 119.0) is None
    assert admission.judge(ticket, hello, e(2), PLAIN, SECRET_LIFE_S + 1) is None
    assert admission.judge(ticket, hello, e(3), PLAIN, 2 * SECRET_LIFE_S - 1) is None
    assert admission.judge(ticket, hello, e(4), PLAIN, 2 * SECRET_LIFE_S + 2) is not None
    quiet = fresh(cookie_above_unfinished=0)
    retry = quiet.judge(enter(quiet), HELLO, e(0), PLAIN, 1.0)
    assert retry is not None
    assert quiet.judge(enter(quiet), retried(retry, e(1)), e(1), PLAIN, 10_000.0) is not None


def test_one_ephemeral_key_opens_one_handshake_while_its_cookie_lives() -> None:
    admission = fresh(cookie_above_unfinished=0)
    ticket = enter(admission)
    retry = admission.judge(ticket, HELLO, e(0), PLAIN, 0.0)
    assert retry is not None
    hello = retried(retry, e(1))
    assert admission.judge(ticket, hello, e(1), PLAIN, 0.0) is None
    for now in (0.0, 100.0, 121.0, 239.0):
        with pytest.raises(RemoteProtocolError, match="used before"):
            admission.judge(ticket, hello, e(1), PLAIN, now)
    assert admission.judge(ticket, hello, e(1), PLAIN, 241.0) is not None  # asks for a new cookie


@pytest.mark.slow
def test_used_keys_are_bounded() -> None:
    admission = fresh(cookie_above_unfinished=0)
    ticket = enter(admission)
    hello: Hello | None = None
    for n in range(MAX_USED + 1000):
        if hello is None or admission.judge(ticket, hello, e(n), PLAIN, 1.0) is not None:
            retry = admission.judge(ticket, HELLO, e(n), PLAIN, 1.0)
            assert retry is not None
            hello = retried(retry, e(n))
        assert len(admission._current.used) + len(admission._previous.used) <= MAX_USED


def proven_load(admission: Admission, count: int, now: float) -> None:
    for ticket in fill(admission, count, now):
        ticket.has_proven = True


def test_effort_rises_while_proven_handshakes_fill_the_places_and_falls_after() -> None:
    admission = fresh()
    proven_load(admission, 129, 0.0)
    efforts = []
    for second in range(1, 12):
        admission.leave(enter(admission, now=float(second)))
        efforts.append(admission.effort)
    assert efforts == [min(MAX_EFFORT, FIRST_EFFORT << n) for n in range(11)]
    for ticket in list(admission._unfinished):
        admission.leave(ticket)
    for second in range(12, 40):
        admission.leave(enter(admission, now=float(second)))
    assert admission.effort == 0


def asked(admission: Admission, now: float = 2.0) -> tuple[Ticket, Retry]:
    """An admission that asks for a puzzle, and what it asks."""
    proven_load(admission, 129, 0.0)
    ticket = enter(admission, now=now)
    retry = admission.judge(ticket, HELLO, e(0), PLAIN, now)
    assert retry is not None
    assert (retry.puzzle, retry.effort) == (PuzzleKind.SHA256, FIRST_EFFORT)
    return ticket, retry


def test_a_solved_puzzle_opens_the_door_once() -> None:
    admission = fresh()
    ticket, retry = asked(admission)
    hello = retried(retry, e(7))
    assert admission.judge(ticket, hello, e(7), PLAIN, 2.1) is None
    assert ticket.has_proven
    with pytest.raises(RemoteProtocolError, match="used before"):
        admission.judge(enter(admission, now=2.2), hello, e(7), PLAIN, 2.2)


def test_a_solution_for_another_key_is_refused_and_a_missing_one_asked_for() -> None:
    admission = fresh()
    ticket, retry = asked(admission)
    hello = retried(retry, e(7))
    with pytest.raises(RemoteProtocolError, match="not solved"):
        admission.judge(ticket, hello, e(8), PLAIN, 2.1)
    assert admission.judge(ticket, replace(hello, solution=b""), e(7), PLAIN, 2.1) is not None
    stale = replace(hello, solution=b"\0\0\0\0" + hello.solution[4:])
    assert admission.judge(ticket, stale, e(7), PLAIN, 2.1) is not None


def test_the_effort_is_the_one_inside_the_cookie() -> None:
    admission = fresh()
    ticket, retry = asked(admission)
    hello = retried(retry, e(7))
    admission.leave(enter(admission, now=3.5))
    assert admission.effort > retry.effort
    assert admission.judge(ticket, hello, e(7), PLAIN, 3.6) is None


def test_solutions_of_the_previous_seed_count() -> None:
    admission = fresh()
    ticket, retry = asked(admission, now=SECRET_LIFE_S - 1)
    hello = retried(retry, e(7))
    assert admission.judge(ticket, hello, e(7), PLAIN, SECRET_LIFE_S + 1) is None


def test_places_are_bounded_and_given_back_once() -> None:
    admission = fresh()
    tickets = fill(admission, 256)
    admission.leave(tickets[0])
    admission.leave(tickets[0])
    assert admission.unfinished == 255
    assert admission._by_prefix.total() == 255


def test_the_prefix_that_holds_most_places_loses_its_oldest() -> None:
    admission, evicted = fresh(max_unfinished=10), Evicted()
    enter(admission, "192.0.2.1", evicted=evicted)
    for n in range(9):
        enter(admission, f"203.0.113.{n}", evicted=evicted)
    enter(admission, "198.51.100.1", evicted=evicted)
    enter(admission, "198.51.100.2", evicted=evicted)
    assert evicted == ["203.0.113.0", "203.0.113.1"]
    assert admission.unfinished == 10


def test_proven_handshakes_are_spared_until_they_had_their_time() -> None:
    admission, evicted = fresh(max_unfinished=4), Evicted()
    for n in range(4):
        enter(admission, f"10.0.{n}.1", float(n), evicted).has_proven = n < 3
    enter(admission, "192.0.2.1", 4.0, evicted).has_proven = True
    assert evicted == ["10.0.3.1"]
    enter(admission, "192.0.2.2", 4.1, evicted).has_proven = True
    assert evicted == ["10.0.3.1", "10.0.0.1"]
    young = fresh(max_unfinished=2)
    proven_load(young, 2, 0.0)
    assert young.enter("192.0.2.1", 1.9, lambda: None) is None
    assert young.enter("192.0.2.1", 2.0, lambda: None) is not None
