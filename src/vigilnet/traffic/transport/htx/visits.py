"""Made-up visits to a site: which records a browser and an h2 server would exchange (sans-IO).

Sizes and orders follow what Chromium and nginx put on the wire (recorded on loopback, the recorder is
tests/bench/shaping): a page, then its parts in two bursts of requests, then small calls of an interface, some
of them uploads. No two visits are alike: everything is drawn anew. Sizes are those of a record behind its
header.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from vigilnet.traffic.transport.htx.schedule import MAX_RECORD, MIN_RECORD, Step, Visit

# A client's first record: preface, SETTINGS, WINDOW_UPDATE; safari's is not measured.
SETTINGS: Final = {"chromium": 87, "edge": 87, "firefox": 87, "safari": 87, "curl": 81}
FIRST_REQUEST: Final = 464  # of Chromium: its second, HEADERS without a cookie
SHORTER: Final = {"edge": -6, "firefox": 149, "curl": 406}  # so much are others' of the same page
COOKIELESS: Final = ("curl",)
MIN_REQUEST: Final = 50
ACKNOWLEDGEMENT: Final = 26  # of the other end's SETTINGS
WINDOW_UPDATE: Final = 30
END_OF_STREAM: Final = 26
FULL_TEXT: Final = MAX_RECORD - 17
USUAL_FLIGHT: Final = 3  # records that an h2 origin sends behind its handshake: two tickets, SETTINGS
DIALLED_AHEAD: Final = 0.02  # share of connections
SLOW_REQUEST: Final = 0.1
BUSY: Final = 0.2
NEW_VISITORS: Final = 0.33  # share of visitors without a cookie


class Dice:
    """Draws from the distributions that are needed here.

    Args:
        random_bytes: source of randomness.
    """

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self._random_bytes = random_bytes
        self._spare: float | None = None

    def unit(self) -> float:
        """Return a number in (0, 1)."""
        return (int.from_bytes(self._random_bytes(6), "big") + 0.5) / (1 << 48)

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return self.unit() < probability

    def between(self, low: float, high: float) -> float:
        """Return a number in [low, high), all alike likely."""
        return low + (high - low) * self.unit()

    def whole(self, low: int, high: int) -> int:
        """Return a whole number from low to high, both included."""
        return low + int(self.unit() * (high - low + 1))

    def one_of(self, values: Sequence[int]) -> int:
        """Return one of `values`."""
        return values[int(self.unit() * len(values))]

    def around(self, median: float, spread: float, low: float, high: float) -> float:
        """Return a log-normal number with this median, held between two limits."""
        normal = math.sqrt(-2.0 * math.log(self.unit())) * math.cos(2.0 * math.pi * self.unit())
        return max(low, min(high, median * math.exp(spread * normal)))


@dataclass(frozen=True)
class VisitLimits:
    """How much a visit may hold."""

    octets_down: int
    parts: int  # pictures at most
    calls: int  # at most, behind the pictures
    early_calls: int = 0  # at most, before them
    uploads: float = 0.3  # share of the calls
    upload_octets: float = 700  # median
    pause_s: float = 0.3  # median, before a call


LIGHT: Final = VisitLimits(octets_down=300_000, parts=20, calls=2)
# Where nothing may leave beside the plan there must be room for what goes up: a page with a program.
FULL: Final = VisitLimits(
    octets_down=1_500_000, parts=40, calls=16, early_calls=4, uploads=0.55, upload_octets=3500, pause_s=0.12
)


UPLOADS: Final = VisitLimits(octets_down=0, parts=0, calls=0, upload_octets=7000)


def first_request(browser: str, dice: Dice, plain: int = 0) -> int:
    """Return the length of a visitor's first HEADERS; two of three were there before and have cookies.

    Args:
        browser: whose.
        dice: randomness.
        plain: what a request without cookies takes on this site; 0: it is not known.
    """
    base = (plain or FIRST_REQUEST + dice.whole(0, 1)) - SHORTER.get(browser, 0)
    base = max(base, MIN_REQUEST)
    if browser in COOKIELESS or dice.chance(NEW_VISITORS):
        return base
    return int(base + dice.around(620, 0.9, 45, 3600))


def beginning(dice: Dice, settings: int, request: int) -> tuple[Step, Step, Step]:
    """Return a client's first records: SETTINGS, its request, the acknowledgement of the other's SETTINGS.

    Chromium mostly says the first two right behind its handshake; at times it is busy with something else,
    and at times it has dialled ahead of its wish. It acknowledges when it comes to that.
    """
    busy = dice.unit()
    delay = 0.0
    if busy < DIALLED_AHEAD:
        delay = dice.around(0.15, 0.8, 0.03, 0.5)
    elif busy < DIALLED_AHEAD + BUSY:
        delay = dice.around(0.003, 1.2, 0.0003, 0.1)
    return (
        Step(0, delay, settings),
        Step(0, dice.around(0.0012, 1.0, 0.0006, 0.02) if dice.chance(SLOW_REQUEST) else 0.0, request),
        Step(USUAL_FLIGHT, dice.around(0.0004, 2.0, 0.0001, 0.15), ACKNOWLEDGEMENT),
    )


def cookies_in(request: int) -> int:
    """Guess how many cookies a first request carries: each takes an octet of every later one."""
    return max(1, min(20, (request - 464) // 280))


class _Script:
    """Collects the steps of both sides; `cookies` make each request longer."""

    def __init__(self, sent: int, received: int, cookies: int) -> None:
        self._cookies = cookies
        self.client: list[Step] = []
        self.server: list[Step] = []
        self._requests = sent  # records of the client so far
        self._answers = received

    def request(self, length: float, delay: float = 0.0, *, is_head: bool = True) -> None:
        """Let the client send a record once all answers so far have come."""
        need = max(self._answers, self.client[-1].need if self.client else 0)
        self.client.append(Step(need, delay, _fit(length + (self._cookies if is_head else 0))))
        self._requests += 1

    def answer(self, length: float, delay: float = 0.0) -> None:
        """Let the server send a record once the client's last request has come."""
        self.server.append(Step(self._requests, delay, _fit(length)))
        self._answers += 1

    def count_answers(self) -> None:
        """Let later requests wait for what was put into `server` by hand."""
        self._answers += len(self.server)

    def body(self, octets: float, head: int, delay: float = 0.0) -> None:
        """Let the server answer with `octets` behind HEADERS of a record of `head`."""
        if octets < 12_000:
            self.answer(octets + head, delay)
            return
        self.answer(head, delay)
        while octets > FULL_TEXT:
            self.answer(MAX_RECORD)
            octets -= FULL_TEXT
        self.answer(octets + 17)


def _fit(length: float) -> int:
    return max(MIN_RECORD, min(MAX_RECORD, int(length)))


def opening_visit(dice: Dice, limits: VisitLimits, flight: int, cookies: int = 5) -> Visit:
    """Return what follows SETTINGS, the first request and the acknowledgement of a connection.

    Args:
        dice: randomness.
        limits: how much it may hold.
        flight: records that the origin sent by itself behind its handshake; the client's three come beside.
        cookies: how many the visitor has.
    """
    script = _Script(sent=3, received=flight, cookies=cookies)
    limits = replace(
        limits, octets_down=int(dice.around(limits.octets_down / 2, 0.7, 20_000, limits.octets_down))
    )
    page = min(dice.around(11_000, 0.9, 1500, 120_000), limits.octets_down / 3)
    # The page does not wait for the client's acknowledgement, its third record.
    waits = dice.around(0.006, 0.8, 0.0005, 0.06)
    if dice.chance(0.6):
        script.server.append(Step(2, dice.between(0, 0.004), ACKNOWLEDGEMENT))
        head = 150
    else:
        script.server.append(Step(2, waits, dice.whole(160, 168)))
        head, waits = 17, 0.0
    size = page + head
    while size > 0:
        script.server.append(Step(2, waits, _fit(min(size + 17, MAX_RECORD))))
        size -= FULL_TEXT
        waits = 0.0
    script.count_answers()
    _parts(script, dice, limits, page, is_first=True)
    return Visit(tuple(script.client), tuple(script.server))


def next_visit(dice: Dice, limits: VisitLimits, cookies: int = 5) -> Visit:
    """Return another page of the same site, after some reading."""
    script = _Script(sent=0, received=0, cookies=cookies)
    script.request(dice.whole(60, 75), dice.around(1.6, 0.8, 0.3, 6.0))
    page = min(dice.around(11_000, 0.9, 1500, 120_000), limits.octets_down / 3)
    script.body(page, dice.whole(60, 130), dice.around(0.006, 0.8, 0.0005, 0.06))
    _parts(script, dice, limits, page, is_first=False)
    return Visit(tuple(script.client), tuple(script.server))


def upload_page(dice: Dice, cookies: int = 5) -> Visit:
    """Return what a page's program sends where much is to go up: some POSTs, one behind the other."""
    script = _Script(sent=0, received=0, cookies=cookies)
    for _ in range(dice.whole(3, 8)):
        _upload(script, dice, UPLOADS, dice.around(0.12, 0.9, 0.01, 1.0))
        if dice.chance(0.7):  # the program asks for what has changed
            _call(script, dice, 40_000, dice.around(0.02, 0.8, 0.002, 0.2))
    return Visit(tuple(script.client), tuple(script.server))


def download_page(dice: Dice, cookies: int = 5) -> Visit:
    """Return the download of something large."""
    script = _Script(sent=0, received=0, cookies=cookies)
    script.request(dice.whole(55, 70), dice.around(0.3, 0.8, 0.03, 2.0))
    script.body(
        dice.around(700_000, 0.8, 100_000, 3e6), dice.whole(60, 130), dice.around(0.003, 0.8, 0.0005, 0.03)
    )
    return Visit(tuple(script.client), tuple(script.server))


def _parts(script: _Script, dice: Dice, limits: VisitLimits, used: float, *, is_first: bool) -> None:
    """Style, scripts and pictures in two bursts, then calls."""
    left = limits.octets_down - used
    styles = dice.whole(2, 6)
    parse = dice.around(0.07, 0.8, 0.005, 0.4)
    first = (114 if is_first else 54) - dice.whole(0, 1)
    sizes = [dice.around(22_000, 1.0, 600, 300_000) for _ in range(styles)]
    left = _burst(script, dice, sizes, left, [first] + [dice.one_of((53, 53, 53, 68)) for _ in sizes], parse)
    for _ in range(dice.whole(limits.early_calls // 2, limits.early_calls)):
        _upload(script, dice, limits, dice.around(0.03, 0.8, 0.004, 0.3))
    pictures = dice.whole(2, max(3, limits.parts))
    lengths = [52, 121, *([54] * dice.whole(2, 8)), *([31] * pictures)]
    sizes = [dice.around(14_000, 1.1, 300, 400_000) for _ in range(pictures)]
    left = _burst(script, dice, sizes, left, lengths, dice.around(0.06, 0.9, 0.005, 0.5))
    for _ in range(dice.whole(limits.early_calls, limits.calls)):
        pause = dice.around(limits.pause_s, 1.2, 0.01, 4.0)
        if dice.chance(limits.uploads):
            _upload(script, dice, limits, pause)
        else:
            _call(script, dice, left, pause)


def _burst(
    script: _Script, dice: Dice, sizes: Sequence[float], left: float, lengths: Sequence[int], delay: float
) -> float:
    """Ask for several parts at once and get them one after the other; return what may still come."""
    for at, _ in enumerate(sizes):
        script.request(lengths[min(at, len(lengths) - 1)], delay if not at else 0.0)
    for at, size in enumerate(sizes):
        taken = min(size, left / 2)
        left -= taken
        head = dice.one_of((192, 194, 202, 204)) if at < 2 else dice.one_of((53, 53, 53, 89))
        script.body(max(taken, 300), head, 0.0 if at else dice.between(0.0002, 0.003))
    return left


def _upload(script: _Script, dice: Dice, limits: VisitLimits, pause: float) -> None:
    """A POST of the page's program."""
    script.request(dice.whole(61, 86), pause)
    left = dice.around(limits.upload_octets, 0.8, 60, 60_000)
    while left > 0:
        script.request(min(left + 26, MAX_RECORD), is_head=False)
        left -= FULL_TEXT
    script.answer(WINDOW_UPDATE, dice.between(0.0002, 0.001))
    script.answer(dice.whole(125, 131), dice.around(0.015, 0.8, 0.002, 0.08))


def _call(script: _Script, dice: Dice, left: float, pause: float) -> None:
    """A GET of the page's program: mostly a small answer."""
    script.request(dice.whole(55, 63), pause)
    script.answer(min(dice.around(2500, 1.2, 90, 60_000), left / 4 + 90), dice.around(0.03, 1.0, 0.001, 0.2))
    if dice.chance(0.6):
        script.answer(END_OF_STREAM)
