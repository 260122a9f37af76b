"""Recorded visits: read, kept, and made into fresh ones."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.links import seeded_random
from tests.unit.traffic.transport.htx.test_visits import runs_to_its_end
from vigilnet.base.errors import ConfigurationError
from vigilnet.traffic.transport.htx.recordings import (
    FIXED,
    MAX_RECORDINGS,
    Recording,
    Recordings,
    Seen,
    age_days,
    digest_of,
    format_recording,
    parse_recordings,
    read_recording,
)
from vigilnet.traffic.transport.htx.visits import Dice

RTT = 0.04


def seen(cookies: int = 0, page: int = 9000, *, is_apart: bool = False) -> list[Seen]:
    """A visit of two pages, as it looks at the client's end."""
    settings = [Seen(0.041, -1, 57), Seen(0.043, -1, 150)] if is_apart else [Seen(0.041, -1, 205)]
    return [
        Seen(0.0, 1, 87), Seen(0.0001, 1, 467 + cookies), Seen(0.04, -1, 266), Seen(0.0401, -1, 266),
        *settings, Seen(0.045, 1, 26), Seen(0.046, -1, page),
        Seen(0.1, 1, 114), Seen(0.1, 1, 53), Seen(0.142, -1, 16_401), Seen(0.150, -1, 4000),
        Seen(0.151, 1, 30), Seen(0.2, -1, 800),
        Seen(2.2, 1, 60), Seen(2.3, -1, 5000), Seen(2.35, 1, 53), Seen(2.4, -1, 700),
    ]  # fmt: skip


def recording(cookies: int = 0, page: int = 9000, *, is_apart: bool = False) -> Recording:
    found = read_recording(seen(cookies, page, is_apart=is_apart), RTT)
    assert found is not None
    return found


def test_who_waits_for_what_is_read_off_the_times() -> None:
    events = recording().events
    assert [event.length for event in events] == [found.length for found in seen()]
    client = [(event.need, round(event.delay, 4)) for event in events if event.way > 0]
    server = [(event.need, round(event.delay, 4)) for event in events if event.way < 0]
    assert client[:5] == [(0, 0.0), (0, 0.0001), (3, 0.004), (4, 0.054), (4, 0.0)]
    assert server[:3] == [(2, 0.0)] * 3
    assert server[4] == (5, 0.0)  # behind both requests
    assert client[-2] == (7, 2.0)
    assert server[-2] == (7, 0.0)  # a large answer on its way: the wire's doing


def test_an_answer_under_way_waits_for_no_later_request() -> None:
    """Else it would stop where the client is late, as no server's does."""
    first = seen()[:8]
    large = [Seen(0.1, 1, 60), *[Seen(0.2 + 0.05 * at, -1, 16_401) for at in range(5)], Seen(0.46, -1, 900)]
    asked = [Seen(0.24, 1, 61), Seen(0.47, -1, 5000)]
    found = read_recording(sorted(first + large + asked), RTT)
    assert found is not None
    needs = [event.need for event in found.events if event.way < 0]
    assert needs[-7:] == [5, 5, 5, 5, 5, 5, 6]


@pytest.mark.parametrize(
    "records",
    [
        seen()[:11],  # too short
        [found._replace(length=17_000) for found in seen()],
        [found._replace(length=470) if found.length == 87 else found for found in seen()],  # h1
        [found._replace(way=-1) for found in seen()],
    ],
)
def test_what_is_no_visit_is_left_out(records: list[Seen]) -> None:
    assert read_recording(records, RTT) is None


def test_a_recording_is_written_and_read_again() -> None:
    found = [recording(), recording(900, is_apart=True)]
    text = "".join(format_recording(one) + "\n" for one in found)
    again = parse_recordings(text, "file")
    assert [one.events for one in again] == [one.events for one in found]
    assert [one.first_answers for one in again] == [[266, 266, 205], [266, 266, 57]]
    assert digest_of(again) == digest_of(found) != digest_of(found[:1])


def test_a_recording_knows_its_day() -> None:
    day = 86_400.0
    lines = [format_recording(recording(), wall) for wall in (20_000 * day, 20_010 * day + 5, 0.0)]
    found = parse_recordings("\n".join(lines), "file")
    assert [one.day for one in found] == [20_000, 20_010, 0]
    assert age_days(found, 20_050 * day) == 50
    assert age_days(found[1:], 20_050 * day) == 40
    assert age_days(found, 19_000 * day) == 0  # the clock was wrong
    assert age_days(found[2:], 20_050 * day) == 0  # a file of before
    assert parse_recordings(format_recording(found[0]), "file")[0].day == 20_000
    assert digest_of(found[:1]) == digest_of(found[1:2])


@pytest.mark.parametrize("day", [-1, 1 << 20, "20000", True, 1.5])
def test_a_day_that_is_none_is_named(day: object) -> None:
    value = json.loads(format_recording(recording())) | {"day": day}
    with pytest.raises(ConfigurationError, match=r"file, line 1: .*day"):
        parse_recordings(json.dumps(value), "file")


def test_visits_without_long_pauses_go_first_and_others_are_sped_up() -> None:
    slow = recording(page=5000)
    quick = read_recording(
        [found._replace(at=found.at - 1.5 * (found.at > 2)) for found in seen(page=6000)], RTT
    )
    assert quick is not None
    assert slow.pauses(100) - quick.pauses(100) == pytest.approx(1.5)
    assert quick.pauses(100) < 0.8 < slow.pauses(100)
    for seed in range(8):
        recordings = Recordings([slow, quick, slow])
        dice = Dice(seeded_random(f"quick {seed}"))
        visits = [recordings.opening(dice, 467, flight=2, think_s=1.5, pauses_s=0.8) for _ in range(3)]
        assert [visit.server[1].length for visit in visits] == [6000, 5000, 5000]  # each once all the same
        for visit in visits:
            assert sum(step.delay for step in (*visit.client, *visit.server)) < 1.2
            assert max(step.delay for step in visit.client) > 0.2


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ([1, 0, 0, 18], "18 octets"),
        ([1, 0, 0, 16_402], "16402 octets"),
        ([1, 99, 0, 60], "needs 99"),
        ([1, 0, 70_000, 60], "a delay"),
        ([2, 0, 0, 60], "not of its form"),
        ([1, 0, True, 60], "not of its form"),
    ],
)
def test_a_line_that_is_no_recording_is_named(step: list[int], message: str) -> None:
    value = json.loads(format_recording(recording()))
    value["steps"].insert(0, step)
    with pytest.raises(ConfigurationError, match=f"file, line 2: .*{message}"):
        parse_recordings(format_recording(recording()) + "\n" + json.dumps(value), "file")


def test_a_file_is_limited() -> None:
    line = format_recording(recording()) + "\n"
    with pytest.raises(ConfigurationError, match="at most"):
        parse_recordings(line * (MAX_RECORDINGS + 1), "file")


@given(
    st.text(max_size=80)
    | st.builds(lambda value: json.dumps({"v": 1, "steps": value}), st.lists(st.lists(st.integers())))
)
def test_any_text_is_recordings_or_a_fault_of_the_file(text: str) -> None:
    try:
        parse_recordings(text, "file")
    except ConfigurationError:
        return


def test_each_is_used_once_before_any_is_used_again() -> None:
    lengths = [5000 + at for at in range(8)]
    told: list[int] = []
    recordings = Recordings([recording(page=length) for length in lengths], changed=lambda: told.append(1))
    dice = Dice(seeded_random("once"))
    pages = [recordings.opening(dice, 467, flight=2).server[1].length for _ in lengths]
    assert sorted(pages) == lengths
    assert recordings.unused == 0
    assert len(told) == 8
    again = Recordings([recording(page=length) for length in lengths], recordings.uses)
    assert again.unused == 0


def test_a_visitor_with_cookies_gets_a_visit_of_one() -> None:
    recordings = Recordings([recording(cookies, 5000 + cookies) for cookies in (0, 300, 900, 2000)])
    dice = Dice(seeded_random("cookies"))
    assert recordings.request == 467
    assert recordings.tickets == 2
    assert recordings.opening(dice, 1400, flight=2).server[1].length == 5900


def test_an_origin_that_was_quick_gets_the_visits_where_it_was() -> None:
    recordings = Recordings([recording(), recording(is_apart=True)])
    dice = Dice(seeded_random("apart"))
    for _ in range(4):  # its SETTINGS have left: what follows is an answer
        assert recordings.opening(dice, 467, flight=3).server[0].length == 150


@pytest.mark.parametrize("count", [0, 14, 40])
def test_no_visit_made_of_recordings_waits_for_ever(count: int) -> None:
    recordings = Recordings([recording(cookies, is_apart=bool(cookies)) for cookies in (0, 300, 900)])
    dice = Dice(seeded_random(f"ends {count}"))
    for flight in (2, 3, 2, 3):
        visit = recordings.opening(dice, 700, flight=flight, count=count, think_s=0.5)
        assert runs_to_its_end(visit, FIXED, flight)
        assert all(step.delay <= 0.5 * 2.5 for step in visit.client)
        if count:
            assert len(visit.client) + FIXED + len(visit.server) + flight == count
    for _ in range(5):
        page = recordings.page(dice, is_loaded=True, think_s=1.0)
        assert page is not None
        assert runs_to_its_end(page, 0, 0)


def test_a_site_without_second_pages_has_none() -> None:
    found = read_recording(seen()[:-4], RTT)
    assert found is not None
    recordings = Recordings([found])
    assert recordings.page(Dice(seeded_random("none")), is_loaded=False, think_s=1.0) is None
