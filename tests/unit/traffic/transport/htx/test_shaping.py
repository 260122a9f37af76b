"""Shapers: what leaves, when, and what it costs."""

import os
from itertools import pairwise

import pytest

from tests.support.links import seeded_random
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.transport.htx.schedule import Step, encode_plan
from vigilnet.traffic.transport.htx.shaping import (
    CONSTANT_LENGTH,
    OPENING_PATIENCE_S,
    PROFILES,
    ROOM_COST,
    Profile,
    Shaper,
)

RTT = 0.03


class Pair:
    """Both sides of a connection on a clock of their own; records take half a round trip."""

    def __init__(self, profile: Profile, seed: str = "pair", *, rate: int = 64 * 1024) -> None:
        self.now = 0.0
        self.ends = [
            Shaper(profile, seeded_random(seed + side), 0.0, is_client=side == "client", rate=rate)
            for side in ("client", "relay")
        ]
        self.waiting = [0, 0]
        self.sent: list[list[tuple[float, int]]] = [[], []]
        self._under_way: list[list[tuple[float, int, bool, bytes]]] = [[], []]

    def begin(self) -> None:
        self.run(RTT)
        self.ends[0].received(3, self.now)  # the origin's records
        self.ends[1].begin(3, self.now)

    def run(self, seconds: float) -> None:
        """Let time pass in steps of half a millisecond."""
        end = self.now + seconds
        while self.now < end:
            for side in (0, 1):
                self._arrive(side)
                self._leave(side)
            self.now += 0.0005

    def _arrive(self, side: int) -> None:
        queue, shaper = self._under_way[side], self.ends[side]
        while queue and queue[0][0] <= self.now:
            _, length, is_extra, plan = queue.pop(0)
            if is_extra:
                shaper.extra_received(length, self.now)
            else:
                shaper.received(1, self.now)
            if plan:
                shaper.plan_received(plan)

    def _leave(self, side: int) -> None:
        shaper = self.ends[side]
        while length := shaper.next_record(self.now, min(self.waiting[side], 20_000)):
            carried = min(self.waiting[side], length - ROOM_COST)
            self.waiting[side] -= max(0, carried)
            plan = shaper.take_plan(length - 60) if shaper.has_plan and length > 100 else b""
            self.sent[side].append((self.now, length))
            self._under_way[1 - side].append((self.now + RTT / 2, length, shaper.is_extra, plan))

    def octets(self, side: int) -> int:
        return sum(length for _, length in self.sent[side])


def test_old_names_mean_light() -> None:
    assert {PROFILES[name] for name in ("light", "small", "webby", "bursty")} == {Profile.LIGHT}
    assert [PROFILES[name] for name in ("off", "replay", "constant")] == [0, 2, 3]


@pytest.mark.parametrize("profile", [Profile.LIGHT, Profile.REPLAY])
def test_a_connection_begins_as_a_browser_s(profile: Profile) -> None:
    for seed in range(10):
        pair = Pair(profile, f"begin {seed}")
        pair.waiting = [1255, 0]
        pair.begin()
        pair.run(1.0)
        client = [length for _, length in pair.sent[0][:4]]
        assert client[0] == 87
        assert 1210 <= client[1] <= 4000
        assert client[2] == 26
        assert client[3] in (113, 114)
        assert pair.waiting[0] == 0


def test_light_holds_nothing_back_for_long() -> None:
    for seed in range(10):
        pair = Pair(Profile.LIGHT, f"delay {seed}")
        pair.begin()
        for _ in range(20):
            pair.waiting[0] += 2048
            pair.waiting[1] += 4096
            pair.run(0.1)
        pair.run(0.1)
        assert pair.waiting == [0, 0]
        assert max(end.delay_max_s for end in pair.ends) <= OPENING_PATIENCE_S + 0.002


def test_light_costs_little_once_a_visit_is_through() -> None:
    pair = Pair(Profile.LIGHT)
    pair.begin()
    pair.run(8.0)
    spent = [pair.octets(0), pair.octets(1)]
    assert spent[1] < 150_000
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
    pair = Pair(Profile.LIGHT)
    pair.begin()
    pair.run(15.0)
    before = [len(sent) for sent in pair.sent]
    pair.run(5.0)
    assert [len(sent) for sent in pair.sent] == before
    assert [end.deadline() for end in pair.ends] == [None, None]


def test_what_is_uploaded_is_answered() -> None:
    pair = Pair(Profile.LIGHT)
    pair.begin()
    pair.run(8.0)
    before = len(pair.sent[1])
    pair.waiting[0] = 2048
    pair.run(0.3)
    lengths = [length for _, length in pair.sent[1][before:]]
    assert lengths[0] == 30
    assert 125 <= lengths[1] <= 131


def test_replay_goes_on_page_after_page_and_never_faster() -> None:
    pair = Pair(Profile.REPLAY)
    pair.begin()
    pair.waiting = [0, 30_000_000]
    pair.run(40.0)
    busy = Pair(Profile.REPLAY)
    busy.begin()
    busy.run(40.0)
    assert [length for _, length in pair.sent[1]] == [length for _, length in busy.sent[1]]
    assert len(pair.sent[0]) > 60
    assert not any(end.is_extra for end in pair.ends)


def test_constant_is_constant_whatever_waits() -> None:
    pair = Pair(Profile.CONSTANT, rate=40_000)
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
    plan = encode_plan([Step(1, 0.0, 26), Step(2, 0.0, 114)])
    for at in range(len(plan)):
        shaper.plan_received(plan[at : at + 1])
    assert [shaper.next_record(0.0, 0) for _ in range(3)][2] == 0
    shaper.received(2, 0.1)
    assert [shaper.next_record(0.1, 0) for _ in range(3)] == [26, 114, 0]


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
    client.plan_received(encode_plan([Step(50_000, 0.0, 26)]))
    assert [client.next_record(1.0, 0) for _ in range(3)][2] == 26
