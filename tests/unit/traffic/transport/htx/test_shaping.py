"""Shapers: what leaves, when, and what it costs."""

import gc
import os
from itertools import pairwise

import pytest

from tests.support.shaper_pair import ShaperPair
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.transport.htx.recordings import Recordings, Seen, read_recording
from vigilnet.traffic.transport.htx.schedule import MAX_RECORD, Step, encode_plan
from vigilnet.traffic.transport.htx.shaping import (
    CONSTANT_LENGTH,
    MADE_UP_OPENING_S,
    PROFILES,
    ROOM_COST,
    Budget,
    Profile,
    Shaper,
)


def test_old_names_mean_light() -> None:
    assert {PROFILES[name] for name in ("light", "small", "webby", "bursty")} == {Profile.LIGHT}
    assert [PROFILES[name] for name in ("off", "replay", "constant")] == [0, 2, 3]


@pytest.mark.parametrize("profile", [Profile.LIGHT, Profile.REPLAY])
def test_a_connection_begins_as_a_browser_s(profile: Profile) -> None:
    for seed in range(10):
        pair = ShaperPair(profile, f"begin {seed}")
        pair.waiting = [1255, 0]
        pair.begin()
        pair.run(1.0)
        client = [length for _, length in pair.sent[0][:4]]
        assert client[0] == 87
        assert 464 <= client[1] <= 4100
        assert client[2] == 26
        assert 114 <= client[3] <= 134


def test_light_holds_nothing_back_for_long() -> None:
    for seed in range(10):
        pair = ShaperPair(Profile.LIGHT, f"delay {seed}")
        pair.begin()
        for _ in range(20):
            pair.waiting[0] += 2048
            pair.waiting[1] += 4096
            pair.run(0.1)
        pair.run(0.1)
        assert pair.waiting == [0, 0]
        assert max(end.delay_max_s for end in pair.ends) <= MADE_UP_OPENING_S + 0.002


def test_light_costs_little_once_a_visit_is_through() -> None:
    pair = ShaperPair(Profile.LIGHT)
    pair.begin()
    pair.run(8.0)
    spent = [pair.octets(0), pair.octets(1)]
    assert spent[1] < 400_000
    for _ in range(40):  # somebody types, and gets answers
        pair.waiting[0] += 2048
        pair.run(0.1)
        pair.waiting[1] += 2048
        pair.run(0.1)
    pair.waiting[1] += 4_000_000  # and loads something large
    pair.run(2.0)
    used = [40 * 2048, 40 * 2048 + 4_000_000]
    for side in (0, 1):
        assert pair.waiting[side] == 0
        assert pair.octets(side) - spent[side] < 1.3 * used[side]
    full = [length for _, length in pair.sent[1][-200:-20]]
    assert full.count(16_401) > 150


def test_light_sends_nothing_when_nothing_waits() -> None:
    pair = ShaperPair(Profile.LIGHT)
    pair.begin()
    pair.run(15.0)
    before = [len(sent) for sent in pair.sent]
    pair.run(5.0)
    assert [len(sent) for sent in pair.sent] == before
    assert [end.deadline() for end in pair.ends] == [None, None]


def test_what_is_uploaded_is_answered() -> None:
    pair = ShaperPair(Profile.LIGHT)
    pair.begin()
    pair.run(8.0)
    before = len(pair.sent[1])
    pair.waiting[0] = 2048
    pair.run(0.3)
    lengths = [length for _, length in pair.sent[1][before:]]
    assert lengths[0] == 30
    assert 125 <= lengths[1] <= 131


def test_no_length_says_how_long_a_cell_is() -> None:
    pair = ShaperPair(Profile.LIGHT)
    pair.begin()
    pair.run(8.0)
    before = [len(sent) for sent in pair.sent]
    for _ in range(60):
        pair.waiting[0] += 2048
        pair.run(0.1)
        pair.waiting[1] += 4096
        pair.run(0.1)
    for side in (0, 1):
        rests = [length % 2048 for _, length in pair.sent[side][before[side] :] if 2000 < length < 16_401]
        assert len(rests) >= 40
        assert len(set(rests)) > len(rests) // 2
    shaper = Shaper(Profile.LIGHT, os.urandom, 0.0, is_client=False)
    lengths = [shaper.rest(2048, 1.0) for _ in range(50)]
    assert 2048 + ROOM_COST + 9 <= min(lengths) < max(lengths) <= 2048 + ROOM_COST + 900
    assert len(set(lengths)) > 25
    assert shaper.rest(50_000, 1.0) == MAX_RECORD
    assert shaper.octets_carried == 50 * 2048 + MAX_RECORD - ROOM_COST


def test_what_the_origin_says_before_large_answers_and_behind_uploads_is_learnt() -> None:
    told = [(1, 87), (1, 467), (-1, 266), (-1, 266), (-1, 205), (1, 26), (1, 60), (-1, 77), (-1, MAX_RECORD)]
    told += [(-1, 500), (1, 60), (1, 2000), (-1, 30), (-1, 114), (-1, 300), (-1, MAX_RECORD)]
    visit = read_recording([Seen(at * 0.03, way, size) for at, (way, size) in enumerate(told)], 0.01)
    assert visit is not None
    learnt = Recordings([visit])
    assert learnt.heads == (77, 300)
    assert learnt.answers == (114,)
    relay = Shaper(Profile.LIGHT, os.urandom, 0.0, is_client=False, recordings=learnt)
    relay.extra_received(2000, 1.0)
    assert [relay.next_record(2.0, 0) for _ in range(2)] == [30, 114]


def test_replay_goes_on_page_after_page_and_all_is_planned() -> None:
    pair = ShaperPair(Profile.REPLAY)
    pair.begin()
    pair.run(40.0)
    assert len(pair.sent[0]) > 100
    assert pair.sent[0][-1][0] > 30
    assert pair.extras <= 8  # plans that found no room in time


def test_what_is_replayed_follows_what_waits() -> None:
    carried = []
    for side, waiting in ((0, [200_000, 0]), (1, [0, 20_000_000]), (2, [0, 0])):
        pair = ShaperPair(Profile.REPLAY)
        pair.begin()
        pair.waiting = list(waiting)
        pair.ends[1].other_waits = side == 0
        pair.run(20.0)
        carried.append([pair.octets(0), pair.octets(1)])
        assert pair.extras <= 8
    assert carried[0][0] > 2 * carried[2][0]
    assert carried[1][1] > 2 * carried[2][1]


def test_constant_is_constant_whatever_waits() -> None:
    pair = ShaperPair(Profile.CONSTANT, rate=40_000)
    pair.begin()
    pair.run(2.0)
    pair.waiting = [50_000, 50_000]
    pair.run(8.0)
    for side in (0, 1):
        steady = [(at, length) for at, length in pair.sent[side] if at > 1.0]
        assert {length for _, length in steady} == {CONSTANT_LENGTH}
        gaps = [later - earlier for (earlier, _), (later, _) in pairwise(steady)]
        assert max(gaps) - min(gaps) < 0.002
        assert 40_000 * 0.95 < sum(length for _, length in steady) / 9.0 < 40_000 * 1.05
        assert pair.waiting[side] == 0


def test_a_plan_may_come_in_pieces() -> None:
    shaper = Shaper(Profile.LIGHT, os.urandom, 0.0, is_client=True)
    plan = encode_plan([Step(4, 0.0, 99), Step(5, 0.0, 114)])
    for at in range(len(plan)):
        shaper.plan_received(plan[at : at + 1])
    first = [shaper.next_record(0.9, 0) for _ in range(3)]
    assert first[0] in (0, 87)  # it may have dialled ahead
    assert first[2] == 0  # no more than the request yet
    shaper.received(5, 1.0)
    lengths = [length for length in [shaper.next_record(2.0, 0) for _ in range(8)] if length]
    assert lengths[-3:] == [26, 99, 114]


def test_only_a_relay_plans_and_not_without_end() -> None:
    relay = Shaper(Profile.LIGHT, os.urandom, 0.0, is_client=False)
    with pytest.raises(RemoteProtocolError, match="from a client"):
        relay.plan_received(encode_plan([]))
    client = Shaper(Profile.REPLAY, os.urandom, 0.0, is_client=True)
    plan = encode_plan([Step(9, 0.0, 26)] * 1024)
    client.plan_received(plan)
    with pytest.raises(RemoteProtocolError, match="too many"):
        client.plan_received(plan + plan)


def test_a_flood_of_records_takes_no_memory() -> None:
    client = Shaper(Profile.REPLAY, os.urandom, 0.0, is_client=True)
    client.received(100_000, 1.0)
    assert len(client._arrivals) <= 4096
    client.plan_received(encode_plan([Step(50_000, 0.0, 99)]))
    lengths = [client.next_record(2.1 + at, 0) for at in range(8)]
    assert [length for length in lengths if length][2:] == [26, 99]


def test_what_clients_ask_for_is_limited_in_all() -> None:
    budget = Budget(2 * 64 * 1024)
    relays = [Shaper(Profile.CONSTANT, os.urandom, 0.0, is_client=False, budget=budget) for _ in range(4)]
    light = Shaper(Profile.LIGHT, os.urandom, 0.0, is_client=False, budget=budget)
    assert budget.slowness == 2.0
    assert light.appetite == 0
    sent = 0
    relays[0].begin(3, 0.0)
    for at in range(1000):
        sent += relays[0].next_record(at / 100, 0) or 0
    assert 0.9 < sent / (10 * 32 * 1024) < 1.1
    del relays[1:]
    gc.collect()
    assert budget.slowness == 1.0


def test_a_replay_pauses_for_longer_where_there_are_too_many() -> None:
    octets = []
    for budget in (None, Budget(15_000)):
        pair = ShaperPair(Profile.REPLAY, "slow", budget=budget)
        pair.begin()
        pair.run(40.0)
        octets.append(pair.octets(1))
    assert octets[1] < 0.6 * octets[0]
