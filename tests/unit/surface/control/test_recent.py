from vigilnet.surface.control.operations import OPERATIONS
from vigilnet.surface.control.recent import FRESH_S, HURRIED, READS, Recent
from vigilnet.surface.control.schema import Request

STATUS = Request(1, "status", {})


def hurried(now: float = 100.0) -> Recent:
    recent = Recent()
    for _ in range(HURRIED):
        assert recent.find(STATUS, now, 0) is None
    recent.keep(STATUS, now, 0, b"{}")
    return recent


def test_who_asks_as_people_do_is_never_told_what_is_old() -> None:
    recent = Recent()
    recent.keep(STATUS, 0.0, 0, b"{}")
    for number in range(3 * HURRIED):
        assert recent.find(STATUS, number * 1.01 / HURRIED, 0) is None
        recent.keep(STATUS, number * 1.01 / HURRIED, 0, b"{}")


def test_who_asks_faster_is_told_again_for_a_moment() -> None:
    recent = hurried()
    assert recent.find(STATUS, 100.0 + FRESH_S * 0.99, 0) == b"{}"
    assert recent.find(STATUS, 100.0 + FRESH_S, 0) is None
    recent.keep(STATUS, 101.0, 0, b"[]")
    assert recent.find(STATUS, 101.1, 0) == b"[]", "hurried in the second before, too"
    recent.keep(STATUS, 103.5, 0, b"[]")
    assert recent.find(STATUS, 103.5, 0) is None, "it has come to rest"


def test_a_change_ends_it_at_once() -> None:
    assert hurried().find(STATUS, 100.1, 1) is None


def test_other_operations_and_those_with_parameters_are_asked_anew() -> None:
    recent = hurried()
    with_port = Request(1, "exits", {"port": 80})
    for request in (Request(1, "paths", {}), with_port, Request(1, "doctor", {})):
        assert recent.find(request, 100.1, 0) is None
    recent.keep(with_port, 100.1, 0, b"[]")
    recent.keep(Request(1, "logs", {}), 100.1, 0, b"[]")
    assert recent.find(Request(1, "exits", {}), 100.1, 0) is None
    assert recent.find(Request(1, "logs", {}), 100.1, 0) is None


def test_only_what_reads_without_looking_farther_is_remembered() -> None:
    for name in READS:
        assert not OPERATIONS[name].is_change
        assert not OPERATIONS[name].is_secret
