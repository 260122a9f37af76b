"""When a record leaves and how long it is (docs/spec/htx.md section 11; sans-IO).

A shaper stands between what waits to be sent and the wire. It is asked for the length of the next record,
and told of what came. The profiles:

    light      the beginning of a visit to a site, then the sizes of an interface's calls and of downloads;
               what waits is never held for long, and little is sent that carries nothing
    replay     visits only, one after the other: nothing leaves but at their times and in their sizes
    constant   records of one size at a steady rate, both ways
"""

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from enum import IntEnum
from typing import Final
from weakref import WeakSet

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.transport.htx.recordings import Recordings
from vigilnet.traffic.transport.htx.schedule import (
    MAX_DELAY_S,
    MAX_RECORD,
    MAX_STEPS,
    Step,
    Visit,
    decode_plan,
    encode_plan,
    plan_size,
)
from vigilnet.traffic.transport.htx.visits import (
    FULL,
    LIGHT,
    SETTINGS,
    WINDOW_UPDATE,
    Dice,
    beginning,
    cookies_in,
    download_page,
    first_request,
    next_visit,
    opening_visit,
    upload_page,
)

# From the specification.
ROOM_COST: Final = 20  # of a record's length: tag, type, flags, length of what it carries

# Our choice.
OPENING_RECORDS: Final = (104, 140)  # of both sides, least and most: all is a visit's until then
OPENING_S: Final = 4.5  # how long what waits may be held back for that, once a connection
MADE_UP_OPENING_S: Final = 0.5  # where no visit was recorded: it would be told all the same
OPENING_THINK_S: Final = 0.7  # longest pause in it
OPENING_PAUSES_S: Final = 1.5  # of all pauses in it
REPLAY_THINK_S: Final = 1.5
PLAN_STUCK_S: Final = 0.4
PLAN_PIECE: Final = 10  # steps: the client can begin with them
PATIENCE_S: Final = 0.004  # afterwards: a planned record may be about to leave
EARLY_S: Final = 0.0005  # timers tick in ms: half of one is no reason to wait for another
MESSAGE_GAP_S: Final = 0.02  # what comes later is another request, or another answer
REPLY_QUIET_S: Final = 0.05
CONSTANT_LENGTH: Final = 4116  # two cells in a record
WANTED_S: Final = 3.0  # how long uploads go on behind the last word that something waits
PLAN_AHEAD: Final = 8  # steps left of a visit when the next one is planned
PLAN_COST: Final = 60  # of a record that is there for a plan
REPLAY_OCTETS_S: Final = 150_000  # about what a replayed visit takes
SLOW_PAUSE_S: Final = 1.0  # before a page, times what a relay is over its budget
MAX_BURST: Final = 4  # constant records that make up for a late timer
MAX_ARRIVALS: Final = 4 * MAX_STEPS
FULL_ROOM: Final = MAX_RECORD - ROOM_COST
PADDING: Final = (150.0, 0.9, 9.0, 900.0)  # median, spread, least, most: of a record that is not full
HEADS: Final = (53, 53, 53, 89, 129, 202, 204)  # before full records: nginx's, where no visit was recorded
ANSWERS: Final = tuple(range(125, 132))  # to an upload


class Profile(IntEnum):
    """How a connection is shaped; the numbers are those on the wire."""

    OFF = 0
    LIGHT = 1
    REPLAY = 2
    CONSTANT = 3


PROFILES: Final = {
    "off": Profile.OFF,
    "light": Profile.LIGHT,
    "replay": Profile.REPLAY,
    "constant": Profile.CONSTANT,
    "small": Profile.LIGHT,  # names of other programs' settings
    "webby": Profile.LIGHT,
    "bursty": Profile.LIGHT,
}


class Budget:
    """What shaping at a client's wish may cost a relay: beyond it, all such links go slower.

    Args:
        octets_s: octets a second in all.
    """

    def __init__(self, octets_s: float) -> None:
        self._octets_s = octets_s
        self._shapers: WeakSet[Shaper] = WeakSet()

    def add(self, shaper: "Shaper") -> None:
        """Count a link's shaper for as long as it lives."""
        self._shapers.add(shaper)

    @property
    def slowness(self) -> float:
        """How many times slower than they would each of them goes; at least 1."""
        return max(1.0, sum(shaper.appetite for shaper in self._shapers) / self._octets_s)


class Shaper:
    """One side of one connection.

    Args:
        profile: which; not OFF.
        random_bytes: randomness.
        now: monotonic seconds.
        is_client: whether we dialled.
        browser: whose first records a client sends.
        rate: of the constant profile, in octets a second each way.
        request: length of a first request without cookies, where it is known.
        recordings: of visits before our origin, where there are some.
        budget: of a relay.
    """

    def __init__(
        self,
        profile: Profile,
        random_bytes: Callable[[int], bytes],
        now: float,
        *,
        is_client: bool,
        browser: str = "chromium",
        rate: int = 64 * 1024,
        request: int = 0,
        recordings: Recordings | None = None,
        budget: Budget | None = None,
    ) -> None:
        self.profile: Final = profile
        self.other_waits = False  # whether the other end said that it has more to send
        self._wanted_until = math.inf  # a fresh link builds circuits
        self._is_loaded = False  # whether more than a record's waits here
        self.is_extra = False  # whether the record last asked for is beside the plan
        self.octets_sent = 0
        self.octets_carried = 0
        self.delay_max_s = 0.0
        self._dice = Dice(random_bytes)
        self._is_client = is_client
        self._steps: deque[Step] = deque()
        self._arrivals: deque[float] = deque()  # of planned records that steps may still ask for
        self._forgotten = 0  # arrivals before these
        self._planned = 0  # planned records of ours that left, and of the other end
        self._expected = 0  # its planned records when all plans so far are through
        self._promised = 0  # ours
        self._last = now
        self._waits_since = math.inf
        self._plan = bytearray()  # of the relay for its client, on its way
        self._partial_plan = bytearray()
        self._replies: deque[tuple[float, int]] = deque()  # small records due, beside the plan
        self._message_left = 0.0  # octets of the answer or upload under way
        self._message_at = -math.inf
        self._is_streaming = False  # full records of it left
        self._recordings = recordings
        self._heads = (recordings.heads if recordings is not None else ()) or HEADS
        self._answers = (recordings.answers if recordings is not None else ()) or ANSWERS
        # a record that says how long a request is is one of a relay with recordings
        self._opening_s = OPENING_S if recordings is not None or request else MADE_UP_OPENING_S
        self._began = now
        self._is_planned = False  # all of the opening's plan is here (a client), or made (a relay)
        self._request = 0  # length of the client's first one; 0: not here yet
        self._cookies = self._dice.whole(1, 9)
        self._interval = (CONSTANT_LENGTH + 5) / rate
        # octets a second that it sends whatever waits, as a relay
        self.appetite: Final = {Profile.REPLAY: REPLAY_OCTETS_S, Profile.CONSTANT: rate}.get(profile, 0)
        self._budget = budget
        if budget is not None and self.appetite:
            budget.add(self)
        self._tick = math.inf
        if is_client:
            length = first_request(browser, self._dice, request)
            self._cookies = cookies_in(length)
            self._add(beginning(self._dice, SETTINGS.get(browser, 87), length))

    @property
    def name(self) -> str:
        """The profile's."""
        return self.profile.name.lower()

    @property
    def cost(self) -> tuple[int, float]:
        """Octets sent that carried nothing, and the longest that something waited."""
        return self.octets_sent - self.octets_carried, self.delay_max_s

    # --- plans ----------------------------------------------------------------------------------

    def begin(self, flight: int, now: float) -> None:
        """Start a relay's side: the origin has sent `flight` records by itself."""
        self._last = now
        self._promised = flight
        if self.profile is Profile.CONSTANT:
            self._tick = now
            return
        visit = self._opening(flight)
        self._expected = 3 + len(visit.client)
        self._promised += len(visit.server)
        self._add(visit.server)
        left = visit.client
        while len(left) > PLAN_PIECE:
            self._plan += encode_plan(left[:PLAN_PIECE], goes_on=True)
            left = left[PLAN_PIECE:]
        self._plan += encode_plan(left)
        self._is_planned = True

    def _opening(self, flight: int) -> Visit:
        is_light = self.profile is Profile.LIGHT
        if self._recordings is None:
            return opening_visit(self._dice, LIGHT if is_light else FULL, flight, self._cookies)
        count = self._dice.whole(*OPENING_RECORDS)
        return self._recordings.opening(
            self._dice,
            self._request,
            flight=flight,
            count=count,
            think_s=OPENING_THINK_S,
            pauses_s=OPENING_PAUSES_S,
        )

    @property
    def _slowness(self) -> float:
        return self._budget.slowness if self._budget is not None else 1.0

    @property
    def _arrived(self) -> int:
        return self._forgotten + len(self._arrivals)

    def _add(self, steps: Iterable[Step]) -> None:
        self._steps.extend(steps)

    def _go_on(self) -> None:
        """Plan the next page of a replayed visit."""
        visit = self._next_page()
        if self._wanted_until == math.inf:
            self._wanted_until = self._last + WANTED_S
        if self._slowness > 1.0 and visit.client:
            first = visit.client[0]
            pause = min(MAX_DELAY_S, (first.delay + SLOW_PAUSE_S) * self._slowness)
            visit = replace(visit, client=(replace(first, delay=pause), *visit.client[1:]))
        base, answered = self._expected, self._promised
        self._add(Step(step.need + base, step.delay, step.length) for step in visit.server)
        self._plan += encode_plan(
            [Step(step.need + answered, step.delay, step.length) for step in visit.client]
        )
        self._expected += len(visit.client)
        self._promised += len(visit.server)

    def _next_page(self) -> Visit:
        """What comes next follows what waits: much up, much down, or neither."""
        dice = self._dice
        if self._last < self._wanted_until:
            return upload_page(dice, self._cookies)
        if self._is_loaded:
            return download_page(dice, self._cookies)
        if self._recordings is not None:
            page = self._recordings.page(dice, is_loaded=True, think_s=REPLAY_THINK_S)
            if page is not None:
                return page
        return next_visit(dice, FULL, self._cookies)

    @property
    def is_free(self) -> bool:
        """Whether a record of h2's PING may leave by itself."""
        return self.profile is Profile.LIGHT and not self._is_opening()

    @property
    def has_plan(self) -> bool:
        """Whether octets of a plan wait for the client."""
        return bool(self._plan)

    def take_plan(self, room: int) -> bytes:
        """Return up to `room` octets of the plan that waits."""
        taken = bytes(self._plan[:room])
        del self._plan[:room]
        return taken

    def plan_received(self, octets: bytes | memoryview) -> None:
        """Take octets of a plan (a client).

        Raises:
            RemoteProtocolError: it is malformed, or nobody may plan for us.
        """
        if not self._is_client:
            raise RemoteProtocolError("plan: from a client")
        partial = self._partial_plan
        partial += octets
        while len(partial) >= 2 and len(partial) >= plan_size(partial):
            steps, size, goes_on = decode_plan(bytes(partial))
            del partial[:size]
            self._is_planned |= not goes_on
            if len(self._steps) + len(steps) > 2 * MAX_STEPS:
                raise RemoteProtocolError("plan: too many steps wait")
            self._add(steps)
        if len(partial) > 2 + 6 * MAX_STEPS:
            raise RemoteProtocolError(f"plan: more than {MAX_STEPS} steps")

    # --- what comes -----------------------------------------------------------------------------

    def received(self, planned: int, now: float) -> None:
        """So many planned records came."""
        arrivals = self._arrivals
        for _ in range(planned):
            arrivals.append(now)
        if self.other_waits:
            self._wanted_until = now + WANTED_S
        while len(arrivals) > MAX_ARRIVALS:
            arrivals.popleft()
            self._forgotten += 1
        if self._is_client and self.profile is Profile.CONSTANT and self._tick == math.inf:
            self._tick = now

    @property
    def has_request(self) -> bool:
        """Whether a relay has seen its client's first request."""
        return self._request > 0

    def request_received(self, length: int) -> None:
        """A relay saw its client's first request: later ones are to be of the same visitor."""
        self._cookies = cookies_in(length)
        self._request = length

    def extra_received(self, length: int, now: float) -> None:
        """A record beside the plan came: a server grants room for what was uploaded, then answers."""
        if self._is_client or self.profile is not Profile.LIGHT or length < 400 or self._replies:
            return
        if now - self._message_at < REPLY_QUIET_S:
            return  # what goes down already may be the answer
        dice = self._dice
        self._replies.append((now + dice.between(0.0002, 0.001), WINDOW_UPDATE))
        if length == MAX_RECORD:
            return  # more of it comes
        self._replies.append((now + dice.around(0.015, 0.8, 0.003, 0.08), dice.one_of(self._answers)))

    # --- what leaves ----------------------------------------------------------------------------

    def may_stream(self, now: float) -> bool:
        """Whether full records of the answer or upload under way may leave now (hot path)."""
        if self._message_left <= FULL_ROOM or now - self._message_at >= MESSAGE_GAP_S or self._replies:
            return False
        return not self._steps or (due := self._step_due()) is None or now < due - EARLY_S

    def streamed(self, records: int, carried: int, now: float) -> None:
        """Full records of it left."""
        if not records:
            return
        self._message_left -= records * FULL_ROOM
        self._message_at = now
        self._is_streaming = True
        self.octets_sent += records * (MAX_RECORD + 5)
        self.octets_carried += carried
        self._waits_since = math.inf

    def rest(self, octets: int, now: float) -> int:
        """Return the length of a record with so many octets, what a stream begins or ends with; count it."""
        carried = min(octets, FULL_ROOM)
        length = self._padded(carried)
        self._message_left -= carried
        self._message_at = now
        self._is_streaming = True
        self.octets_sent += length + 5
        self.octets_carried += carried
        self._waits_since = math.inf
        return length

    def _padded(self, carried: int) -> int:
        """Return the length of a record: no multiple of a cell's, which would be no visitor's."""
        if carried >= FULL_ROOM:
            return MAX_RECORD
        return min(MAX_RECORD, carried + ROOM_COST + int(self._dice.around(*PADDING)))

    def next_record(self, now: float, waiting: int) -> int:
        """Return the length of the record to send now; 0: none yet, see `deadline`.

        Args:
            now: monotonic seconds.
            waiting: octets that wait; more than a full record's may be given as that.
        """
        if not waiting:
            self._waits_since = math.inf
        elif self._waits_since == math.inf:
            self._waits_since = now
        self._is_loaded = waiting >= FULL_ROOM
        length = self._choose(now, waiting)
        if length:
            self._note(length, now, waiting)
        return length

    def _choose(self, now: float, waiting: int) -> int:
        self.is_extra = False
        due = self._step_due()
        if due is not None and now >= due - EARLY_S:
            self._last = max(due, now - 0.05)
            self._planned += 1
            length = self._steps.popleft().length
            if not self._is_client and self.profile is Profile.REPLAY and len(self._steps) < PLAN_AHEAD:
                self._go_on()
            return length
        if self.profile is Profile.CONSTANT:
            return self._constant(now)
        if self._plan and due is None and now >= self._stuck_at():
            self.is_extra = True  # both sides would wait for ever
            return min(MAX_RECORD, len(self._plan) + PLAN_COST + int(self._dice.around(60, 0.7, 9, 300)))
        if self.profile is Profile.LIGHT:
            self.is_extra = True
            if self._replies and now >= self._replies[0][0] - EARLY_S:
                return self._replies.popleft()[1]
            if (waiting or self._plan) and now >= self._may_add_at(now):
                return self._extra(now, waiting)
        return 0

    def _constant(self, now: float) -> int:
        if now < self._tick - EARLY_S:
            return 0
        interval = self._interval * self._slowness
        self._tick = max(self._tick, now - MAX_BURST * interval) + interval
        return CONSTANT_LENGTH

    def _step_due(self) -> float | None:
        """When the next planned record is due; None: there is none, or it waits for the other end."""
        steps = self._steps
        if not steps:
            return None
        step = steps[0]
        if step.need > self._forgotten + len(self._arrivals):
            return None
        while self._forgotten < step.need - 1:
            self._arrivals.popleft()
            self._forgotten += 1
        base = self._last
        if step.need and step.need > self._forgotten:
            base = max(base, self._arrivals[0])
        return base + step.delay

    def _may_add_at(self, now: float) -> float:
        """When what waits may leave beside the plan: not if a planned record is about to."""
        since = min(self._waits_since, now)
        if self._is_opening():
            return max(since, self._began + self._opening_s)
        due = self._step_due()
        return now if due is None or due > now + PATIENCE_S else max(now, due)

    def _is_opening(self) -> bool:
        """Whether nothing leaves but by plan yet."""
        return not self._is_planned or bool(self._steps) or self._arrived < self._expected

    def _stuck_at(self) -> float:
        """When a plan that found no room goes by itself: both sides would wait for ever."""
        return max(self._last, self._arrivals[-1] if self._arrivals else 0.0) + PLAN_STUCK_S

    def _extra(self, now: float, waiting: int) -> int:
        """Return the length of a record that is a piece of an upload, or of an answer."""
        dice = self._dice
        is_going_on = self._message_left > 0 and now - self._message_at < MESSAGE_GAP_S
        self._message_at = now
        if is_going_on:
            length = min(waiting, FULL_ROOM)
            self._message_left -= length
            return self._padded(length)
        self._is_streaming = False
        if self._is_client:
            self._message_left = dice.around(600_000, 1.0, 40_000, 8e6)
            return dice.one_of((61, 62, 62, 62, 63, 74, 75, 79, 84, 86)) + self._cookies
        if waiting >= FULL_ROOM:
            self._message_left = dice.around(450_000, 1.0, 60_000, 8e6)
            return dice.one_of(self._heads)
        self._message_left = 0.0
        if dice.chance(0.15):
            self._replies.appendleft((now, 26))
        return min(MAX_RECORD, int(waiting + ROOM_COST + dice.around(110, 0.5, 40, 300)))

    def _note(self, length: int, now: float, waiting: int) -> None:
        """Count what a record costs."""
        carried = min(waiting, max(0, length - ROOM_COST))
        self.octets_sent += length + 5
        self.octets_carried += carried
        if carried:
            self.delay_max_s = max(self.delay_max_s, now - self._waits_since)
            self._waits_since = math.inf

    def deadline(self) -> float | None:
        """When to ask again though nothing new waits and nothing came."""
        due = self._step_due()
        at = math.inf if due is None else due
        at = min(at, self._tick)
        if self._plan and due is None:
            at = min(at, self._stuck_at())
        if self.profile is Profile.LIGHT:
            if self._replies:
                at = min(at, self._replies[0][0])
            if self._waits_since != math.inf:
                at = min(at, self._may_add_at(self._waits_since))
        return None if at == math.inf else at
