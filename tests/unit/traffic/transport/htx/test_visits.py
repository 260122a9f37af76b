"""Made-up visits keep to what they promise."""

import pytest

from tests.support.links import seeded_random
from vigilnet.traffic.transport.htx.schedule import MAX_STEPS, Visit, encode_plan
from vigilnet.traffic.transport.htx.visits import (
    FIRST_REQUEST,
    FULL,
    LIGHT,
    Dice,
    VisitLimits,
    cookies_in,
    first_request,
    next_visit,
    opening_visit,
)


def runs_to_its_end(visit: Visit, sent: int, received: int) -> bool:
    """Whether both sides get through, each waiting only for what the other has sent."""
    client, server = list(visit.client), list(visit.server)
    while client or server:
        if client and client[0].need <= received:
            client.pop(0)
            sent += 1
        elif server and server[0].need <= sent:
            server.pop(0)
            received += 1
        else:
            return False
    return True


@pytest.mark.parametrize("limits", [LIGHT, FULL])
@pytest.mark.parametrize("seed", range(30))
def test_no_visit_waits_for_ever(limits: VisitLimits, seed: int) -> None:
    dice = Dice(seeded_random(f"visit {seed}"))
    for visit, sent, received in ((opening_visit(dice, limits, 3), 3, 3), (next_visit(dice, limits), 0, 0)):
        assert runs_to_its_end(visit, sent, received)
        assert len(encode_plan(visit.client)) <= 2 + 6 * MAX_STEPS
        assert len(visit.server) <= MAX_STEPS


def test_a_light_visit_stays_below_its_octets() -> None:
    dice = Dice(seeded_random("octets"))
    totals = [sum(step.length for step in opening_visit(dice, LIGHT, 3).server) for _ in range(200)]
    assert max(totals) < 1.4 * LIGHT.octets_down
    assert min(totals) > 3000


def test_a_third_of_the_visitors_has_no_cookie() -> None:
    dice = Dice(seeded_random("cookies"))
    lengths = [first_request(name, dice) for name in ("chromium", "safari", "unknown") for _ in range(100)]
    assert min(lengths) == FIRST_REQUEST
    assert 60 < sum(length < 475 for length in lengths) < 140
    assert len(set(lengths)) > 120
    known = [first_request("chromium", dice, 512) for _ in range(100)]
    assert min(known) == 512
    assert max(known) > 1200


@pytest.mark.parametrize(
    ("name", "least", "known"), [("firefox", 315, 363), ("edge", 470, 518), ("curl", 58, 106)]
)
def test_first_requests_are_of_the_template_s_program(name: str, least: int, known: int) -> None:
    """Measured before one nginx: Chromium 468, Firefox 319, curl 62 octets for the same page."""
    dice = Dice(seeded_random(name))
    assert min(first_request(name, dice) for _ in range(100)) == least
    assert min(first_request(name, dice, 512) for _ in range(100)) == known
    assert first_request(name, dice, 100) >= 50
    assert len({first_request(name, dice, 512) for _ in range(100)} - {known}) == 0 or name != "curl"


def test_who_has_more_cookies_asks_at_greater_length() -> None:
    assert [cookies_in(length) for length in (464, 1210, 4000, 60_000)] == [1, 2, 12, 20]
    few, many = (
        opening_visit(Dice(seeded_random("same")), LIGHT, 3, cookies).client[0].length for cookies in (1, 12)
    )
    assert many - few == 11


def test_dice_keep_their_limits() -> None:
    dice = Dice(seeded_random("dice"))
    assert {dice.whole(1, 3) for _ in range(100)} == {1, 2, 3}
    assert {dice.one_of((5, 9)) for _ in range(50)} == {5, 9}
    drawn = [dice.around(10.0, 2.0, 1.0, 50.0) for _ in range(500)]
    assert (min(drawn), max(drawn)) == (1.0, 50.0)
    assert 6 < sorted(drawn)[250] < 16
    assert 0 < sum(dice.chance(0.25) for _ in range(400)) < 200
