"""Two shapers joined by a wire in virtual time, with nothing sealed."""

from tests.support.links import seeded_random
from vigilnet.traffic.transport.htx.recordings import Recordings
from vigilnet.traffic.transport.htx.shaping import ROOM_COST, Budget, Profile, Shaper

RTT = 0.03


class ShaperPair:
    """Both sides of a connection on a clock of their own; records take half a round trip."""

    def __init__(
        self,
        profile: Profile,
        seed: str = "pair",
        *,
        rate: int = 64 * 1024,
        budget: Budget | None = None,
        recordings: Recordings | None = None,
    ) -> None:
        self.now = 0.0
        client = Shaper(profile, seeded_random(seed + "client"), 0.0, is_client=True, rate=rate)
        relay = Shaper(
            profile,
            seeded_random(seed + "relay"),
            0.0,
            is_client=False,
            rate=rate,
            budget=budget,
            recordings=recordings,
        )
        self.ends = [client, relay]
        self.waiting = [0, 0]
        self.extras = 0  # records beside the plan
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
            shaper.other_waits = self.waiting[1 - side] > 0
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
            self.extras += shaper.is_extra
            self._under_way[1 - side].append((self.now + RTT / 2, length, shaper.is_extra, plan))

    def octets(self, side: int) -> int:
        return sum(length for _, length in self.sent[side])
