"""Visits that were recorded before the very origin, and fresh ones made of them (sans-IO).

`vigilnet htx record` writes the file, a relay reads it (docs/spec/htx.md section 11). One line a connection:

    {"v": 1, "day": days since 1970, "steps": [[way, need, delay in 0.1 ms, length], ...]}

in the order in which they were seen at the client's end, from the first record behind its Finished; way 1 is
the client's, -1 the origin's. Older files have no day.
"""

import hashlib
import json
import math
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final, NamedTuple

from vigilnet.base.errors import ConfigurationError
from vigilnet.traffic.transport.htx.schedule import (
    DELAY_UNIT_S,
    MAX_DELAY_S,
    MAX_RECORD,
    MIN_RECORD,
    Step,
    Visit,
)
from vigilnet.traffic.transport.htx.visits import WINDOW_UPDATE, Dice

FORMAT: Final = 1
MIN_STEPS: Final = 12
MAX_KEPT: Final = 500  # steps of one recording; what comes later is left out
MAX_LINE: Final = 100_000
MAX_RECORDINGS: Final = 2000
MAX_SETTINGS: Final = 200  # octets of an h2 client's first record; a request of h1 is longer
MAX_ACKNOWLEDGEMENT: Final = 40
TICKETS: Final = 2  # of the origin, at most
MIN_TICKET: Final = 100  # octets; SETTINGS are shorter
TICKET_SPREAD: Final = 64  # between tickets of one origin: they are padded to blocks
FIXED: Final = 3  # the client's first records: SETTINGS, its request, the acknowledgement of SETTINGS

# How a recording is read.
SETTLED_S: Final = 0.004  # a request had this long to reach the origin before what answers it
AT_ONCE_S: Final = 0.003  # less is no delay of the program's
PACED_S: Final = 0.06  # between records of one answer: TCP's doing
PAGE_PAUSE_S: Final = 0.3  # a request after such a pause begins another page
SMALL: Final = 3000
MAX_SMALL: Final = 400  # of headers, or a short answer
MAX_LEARNT: Final = 200

MAX_PAGE: Final = 40  # steps of a page behind the first: then it is looked at what waits
OLD_AFTER_DAYS: Final = 30  # a site is another by then
QUICK_STEPS: Final = 120  # about an opening's: a visit without long pauses in them is taken first
LATEST_DAY: Final = 1 << 20
_DAY_S: Final = 86_400
TRIED: Final = 12  # recordings among which the one with the nearest request is taken
JITTER: Final = 0.12
REUSED_JITTER: Final = 0.35  # of delays in a recording that was used before

_EVENT: Final = struct.Struct(">bHHH")


class Seen(NamedTuple):
    """One record as somebody at the client's end saw it, behind the client's Finished."""

    at: float
    way: int
    length: int


class Event(NamedTuple):
    """One step of either side: which side, records of the other that come first, delay, length."""

    way: int
    need: int
    delay: float
    length: int


class Recording:
    """One connection of a browser, both sides in the order of the client's end; kept packed.

    Args:
        events: its steps.
        day: when it was recorded, in days since 1970; 0: not known.
    """

    def __init__(self, events: Sequence[Event], day: int = 0) -> None:
        self.day: Final = day
        self.packed: Final = b"".join(
            _EVENT.pack(event.way, event.need, round(event.delay / DELAY_UNIT_S), event.length)
            for event in events
        )
        self.size: Final = len(events)
        self.request: Final = [event.length for event in events if event.way > 0][1]
        self.first_answers: Final = [event.length for event in events if event.way < 0][: TICKETS + 1]

    @property
    def events(self) -> list[Event]:
        """The steps."""
        return [
            Event(way, need, delay * DELAY_UNIT_S, length)
            for way, need, delay, length in _EVENT.iter_unpack(self.packed)
        ]

    def pairs(self) -> Iterable[tuple[int, int]]:
        """Return the lengths of neighbouring records of the origin, behind its first ones."""
        return pairwise([event.length for event in self.events if event.way < 0][TICKETS:])

    def pauses(self, count: int) -> float:
        """Return how long the delays among the first `count` steps are in all."""
        return sum(event.delay for event in self.events[:count])

    def pages(self) -> list[tuple[Event, ...]]:
        """Return what follows each pause of the visitor; needs count from there."""
        cuts = []
        sent = {1: 0, -1: 0}
        events = self.events
        for at, event in enumerate(events):
            if sent[1] > FIXED and event.way > 0 and event.delay >= PAGE_PAUSE_S:
                cuts.append((at, sent[1], sent[-1]))
            sent[event.way] += 1
        ends = [at for at, _, _ in cuts[1:]] + [len(events)]
        return [
            tuple(
                event._replace(need=max(0, event.need - (down if event.way > 0 else up)))
                for event in events[at:end]
            )
            for (at, up, down), end in zip(cuts, ends, strict=False)
        ]


def read_recording(records: Sequence[Seen], rtt: float) -> Recording | None:
    """Turn what was seen into steps; None if it is no visit that could be repeated.

    Args:
        records: of one connection, from the first behind the client's Finished, its time being 0.
        rtt: between where they were seen and the origin.
    """
    records = records[:MAX_KEPT]
    if len(records) < MIN_STEPS or any(not MIN_RECORD <= seen.length <= MAX_RECORD for seen in records):
        return None
    said = [seen.length for seen in records if seen.way > 0]
    if len(said) < FIXED or said[0] > MAX_SETTINGS or said[FIXED - 1] > MAX_ACKNOWLEDGEMENT:
        return None  # not h2
    up = [seen.at for seen in records if seen.way > 0]
    down = [seen.at for seen in records if seen.way < 0]
    paced = _paced(records)
    last = {1: 0.0, -1: rtt}
    needs = {1: 0, -1: 0}
    size_before = 0
    events = []
    for seen in records:
        if seen.way > 0:
            need = bisect_right(down, seen.at)
            delay = seen.at - max(last[1], down[need - 1] if need else 0.0)
        else:
            need = needs[-1]
            if size_before != MAX_RECORD:  # else it goes on with what was asked for before
                need = max(need, bisect_right(up, seen.at - rtt + SETTLED_S))
            asked = (up[need - 1] if need else 0.0) + rtt
            delay = _own_delay(seen, last[-1], asked, rtt, paced, size_before)
            size_before = seen.length
        last[seen.way] = seen.at
        needs[seen.way] = need
        events.append(Event(seen.way, need, min(max(0.0, delay), MAX_DELAY_S), seen.length))
    return Recording(events)


def _paced(records: Sequence[Seen]) -> float:
    """Return how long a full record takes on this wire."""
    full = [
        later.at - earlier.at
        for earlier, later in pairwise(records)
        if earlier.way < 0 and later.way < 0 and later.length == MAX_RECORD
    ]
    return sorted(full)[len(full) // 5] if len(full) > 4 else 0.0


def _own_delay(seen: Seen, before: float, asked: float, rtt: float, paced: float, size_before: int) -> float:
    """Return the origin's part of the time that went before one of its records: not the wire's."""
    delay = seen.at - max(before, asked) - paced * seen.length / MAX_RECORD
    is_going_on = before >= asked and size_before > SMALL
    wire = max(1.3 * rtt, PACED_S)
    if delay < AT_ONCE_S or ((is_going_on or seen.length > SMALL) and delay < wire):
        return 0.0
    return delay


def format_recording(recording: Recording, wall: float = 0.0) -> str:
    """Return its line of a file; `wall` is the time of the recording in Unix seconds."""
    steps = [[event.way, event.need, round(event.delay * 10_000), event.length] for event in recording.events]
    day = int(wall // _DAY_S) or recording.day
    return json.dumps({"v": FORMAT, "day": day, "steps": steps}, separators=(",", ":"))


def parse_recordings(text: str, name: str) -> list[Recording]:
    """Read a file.

    Raises:
        ConfigurationError: a line is no recording.
    """
    found = []
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > MAX_RECORDINGS:
        raise ConfigurationError(f"{name}: {len(lines)} recordings, at most {MAX_RECORDINGS}")
    for number, line in enumerate(lines, 1):
        try:
            found.append(_parse_line(line))
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigurationError(f"{name}, line {number}: no recording ({error})") from error
    return found


def _parse_line(line: str) -> Recording:
    if len(line) > MAX_LINE:
        raise ValueError("too long")
    value = json.loads(line)
    if value["v"] != FORMAT:
        raise ValueError(f"version {value['v']}")
    events = []
    counts, needs = {1: 0, -1: 0}, {1: 0, -1: 0}
    for way, need, delay, length in value["steps"]:
        if way not in counts or any(type(number) is not int for number in (way, need, delay, length)):
            raise ValueError("a step is not of its form")
        if not (needs[way] <= need <= counts[-way] and MIN_RECORD <= length <= MAX_RECORD):
            raise ValueError(f"a step of {length} octets that needs {need} records")
        if not 0 <= delay <= 0xFFFF:
            raise ValueError(f"a delay of {delay}")
        counts[way] += 1
        needs[way] = need
        events.append(Event(way, need, delay / 10_000, length))
    if counts[1] < FIXED or len(events) > MAX_KEPT:
        raise ValueError(f"{len(events)} steps")
    day = value.get("day", 0)
    if type(day) is not int or not 0 <= day < LATEST_DAY:
        raise ValueError(f"day {day}")
    return Recording(events, day)


def age_days(recordings: Sequence[Recording], wall: float) -> int:
    """Return how old the oldest is that has a day; 0 if none has."""
    days = [recording.day for recording in recordings if recording.day]
    return max(0, int(wall // _DAY_S) - min(days)) if days else 0


def digest_of(recordings: Sequence[Recording]) -> bytes:
    """Return what tells one file's recordings from another's."""
    digest = hashlib.sha256()
    for recording in recordings:
        digest.update(recording.packed)
    return digest.digest()


class Recordings:
    """What a relay draws its visits from: each recording once as it was, then parts of several, varied.

    Args:
        recordings: at least one.
        uses: how often each was used before.
        changed: called when `uses` has changed.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        uses: Sequence[int] = (),
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._recordings = list(recordings)
        self.uses = list(uses) if len(uses) == len(recordings) else [0] * len(recordings)
        self._changed = changed
        self._pages = [
            (at, page) for at, found in enumerate(recordings) for page in range(len(found.pages()))
        ]
        self._page_uses = [0] * len(self._pages)
        self._pauses: Final = [found.pauses(QUICK_STEPS) for found in recordings]
        pairs = [pair for found in recordings for pair in found.pairs()]
        self.heads: Final = _some(first for first, second in pairs if second == MAX_RECORD)
        self.answers: Final = _some(second for first, second in pairs if first == WINDOW_UPDATE)
        self.tickets: Final = _tickets([found.first_answers[:TICKETS] for found in recordings])
        # what the origin says by itself before it has a request: SETTINGS and nothing else
        self._settings = min(found.first_answers[-1] for found in recordings)

    @property
    def request(self) -> int:
        """Length of a first request without cookies."""
        return min(recording.request for recording in self._recordings)

    @property
    def unused(self) -> int:
        """Recordings that no visit was made of yet."""
        return self.uses.count(0)

    def opening(
        self,
        dice: Dice,
        request: int,
        *,
        flight: int,
        count: int = 0,
        think_s: float = 10.0,
        pauses_s: float = math.inf,
    ) -> Visit:
        """Return a visit for a connection whose client has sent its request.

        Args:
            dice: randomness.
            request: length of the first one; 0: it is not here yet.
            flight: records that the origin has sent by itself.
            count: how many records of both sides; 0: the whole of it.
            think_s: longest pause.
            pauses_s: of all pauses together; visits with no more go first, others are sped up.
        """
        at = self._nearest(dice, request, pauses_s, is_apart=flight > TICKETS or not request)
        spread = JITTER if not self.uses[at] else REUSED_JITTER
        self.uses[at] += 1
        self._changed()
        events = self._recordings[at].events
        while len(events) < count and self._pages:
            events += _behind(events, self._page(dice, is_loaded=False))
        events = events[:count] if count else events
        total = sum(min(event.delay, think_s) for event in events if event.delay > AT_ONCE_S)
        if total > pauses_s:
            events = [event._replace(delay=min(event.delay, think_s) * pauses_s / total) for event in events]
        visit = _sides(events, dice, spread, think_s)
        client, server = visit.client[FIXED:], visit.server[flight:]
        if not request and server:  # SETTINGS do not wait for it
            server = (replace(server[0], need=0), *server[1:])
        return Visit(client, server)

    def _nearest(self, dice: Dice, request: int, pauses_s: float, *, is_apart: bool) -> int:
        every = range(len(self._recordings))
        apart = [at for at in every if self._recordings[at].first_answers[-1] == self._settings]
        found = apart if is_apart and apart else every
        least = min(self.uses[at] for at in found)
        fresh = [at for at in found if self.uses[at] == least]
        quick = [at for at in fresh if self._pauses[at] <= pauses_s]  # what is cut short would show
        drawn = sorted(quick or fresh, key=lambda _: dice.unit())[:TRIED]
        return min(drawn, key=lambda at: abs(self._recordings[at].request - request))

    def _page(self, dice: Dice, *, is_loaded: bool) -> tuple[Event, ...]:
        """Return a page of somebody who was there before; one with much to send, if that is asked for."""
        least = min(self._page_uses)
        fresh = [at for at, uses in enumerate(self._page_uses) if uses == least]
        drawn = sorted(fresh, key=lambda _: dice.unit())[: TRIED if is_loaded else 1]
        found = {at: self._recordings[self._pages[at][0]].pages()[self._pages[at][1]] for at in drawn}
        at = max(drawn, key=lambda at: sum(event.length for event in found[at] if event.way > 0))
        self._page_uses[at] += 1
        return found[at]

    def page(self, dice: Dice, *, is_loaded: bool, think_s: float) -> Visit | None:
        """Return another page; None: there are none.

        Args:
            dice: randomness.
            is_loaded: whether the client waits to send much.
            think_s: longest pause.
        """
        if not self._pages:
            return None
        page = self._page(dice, is_loaded=is_loaded)[:MAX_PAGE]
        return _sides(_behind((), page), dice, REUSED_JITTER, think_s)


def _tickets(firsts: Sequence[Sequence[int]]) -> int:
    """Return how many records the origin sends alike in all, of a ticket's length: its tickets."""
    count = 0
    while count < min(map(len, firsts)):
        lengths = [first[count] for first in firsts]
        if min(lengths) < MIN_TICKET or max(lengths) - min(lengths) > TICKET_SPREAD:
            break
        count += 1
    return count


def _some(lengths: Iterable[int]) -> tuple[int, ...]:
    """Return the lengths of small records, as often as they came; not all of them."""
    small = [length for length in lengths if MAX_ACKNOWLEDGEMENT < length <= MAX_SMALL]
    return tuple(small[:: max(1, len(small) // MAX_LEARNT)])


def _behind(events: Sequence[Event], page: Sequence[Event]) -> list[Event]:
    """Let a page follow: its first request when all has come, answers when it has."""
    sent = {way: sum(event.way == way for event in events) for way in (1, -1)}
    return [event._replace(need=sent[-event.way] + max(event.need, event.way < 0)) for event in page]


def _sides(events: Sequence[Event], dice: Dice, spread: float, think_s: float) -> Visit:
    sides: dict[int, list[Step]] = {1: [], -1: []}
    for event in events:
        delay = event.delay
        if delay > think_s:
            delay = think_s * dice.around(0.7, 0.4, 0.3, 1.0)
        if delay > AT_ONCE_S:
            delay = min(MAX_DELAY_S, delay * dice.around(1.0, spread, 0.4, 2.5))
        sides[event.way].append(Step(event.need, delay, event.length))
    return Visit(tuple(sides[1]), tuple(sides[-1]))
