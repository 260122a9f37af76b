"""The other side: asks directories for relays and, on a relay, registers with them.

One directory that answers is enough; the order is drawn anew each time, so that none sees all of us. Records
wait here when the peer table takes only so many a second from one source.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeVar

from vigilnet.base.clock import Clock
from vigilnet.base.errors import RemoteProtocolError, VigilnetError
from vigilnet.base.http.client_io import Answer, Connect, UnreachableError, ask, connect_directly
from vigilnet.base.http.messages import parse_json
from vigilnet.base.http.url import Url, parse_url
from vigilnet.base.safelog import get_logger, sensitive
from vigilnet.base.tasks import TaskGroup
from vigilnet.peer.offering import PAUSE_S, Course, Offering
from vigilnet.peer.sources import Source
from vigilnet.peer.view import Verdict
from vigilnet.routing.operators.options import Options
from vigilnet.routing.operators.wire import (
    Registration,
    decode_listing,
    decode_operator,
    encode_registration,
)

MAX_LISTING: Final = 16 * 1024 * 1024
MAX_RECORDS: Final = 8192
MAX_VALUES: Final = 40 * MAX_RECORDS  # of JSON: with 8 addresses and 8 capabilities an entry has 25
QUERY_TIMEOUT_S: Final = 15.0
REGISTER_TIMEOUT_S: Final = 10.0
FIRST_BACK_OFF_S: Final = 2.0
MAX_BACK_OFF_S: Final = 300.0
OFFER_EACH_S: Final = 1.0

_log = get_logger(__name__)
_T = TypeVar("_T")


class Asker(Protocol):
    """What this room needs of the node."""

    def take(self, encoded: bytes, source: Source) -> Verdict:
        """Offer a record to the peer table."""
        ...

    def registration(self) -> Registration | None:
        """Return our own registration of this moment; None while there is no record of ours."""
        ...

    def circuits(self) -> Connect | None:
        """Return how to connect through circuits; None as long as there is none, and on relays."""
        ...


class OperatorClient:
    """Asks and registers until closed.

    Args:
        options: whom and how often.
        asker: the node.
        clock: time.
        random_bytes: chance.
        queries: whether to ask.
        registers: whether to register.
    """

    def __init__(
        self,
        options: Options,
        asker: Asker,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        *,
        queries: bool,
        registers: bool,
    ) -> None:
        self._options = options
        self._asker = asker
        self._clock = clock
        self._random_bytes = random_bytes
        self._queries = queries
        self._registers = registers
        self._urls = tuple(parse_url(text) for text in options.urls)
        self._tasks = TaskGroup("operators")
        self._waiting: list[tuple[bytes, Source]] = []
        self._offering = Offering()
        self.answered_at: float | None = None  # monotonic, when a directory last answered
        self.registered: dict[Url, str] = {}  # what each said last: "" for yes, else why not

    @property
    def is_answered(self) -> bool:
        """Whether a directory has answered yet."""
        return self.answered_at is not None

    def start(self) -> None:
        """Begin."""
        if self._urls and self._queries:
            self._tasks.start("ask", self._keep_asking())
            self._tasks.start("offer", self._keep_offering())
        if self._registers:
            for url in self._urls:
                self._tasks.start("register", self._keep_registering(url))

    async def close(self) -> None:
        """Stop."""
        await self._tasks.close()

    async def _keep_asking(self) -> None:
        back_off_s = FIRST_BACK_OFF_S
        while True:
            if await self._ask_in_turn():
                back_off_s = FIRST_BACK_OFF_S
                wait = self._options.query_s * (0.8 + 0.4 * self._chance())
            else:
                wait = back_off_s * (0.5 + self._chance())
                back_off_s = min(MAX_BACK_OFF_S, back_off_s * 2)
            await asyncio.sleep(wait)

    async def _ask_in_turn(self) -> bool:
        """Ask one after another until one answers with records."""
        connect = self._asker.circuits()
        for url in self._shuffled(self._urls):
            try:
                records = await self._records_of(url, connect or connect_directly)
            except VigilnetError as error:
                _log.info("operator gave no relays", operator=sensitive(url.authority), reason=str(error))
                continue
            self.answered_at = self._clock.now()
            source = Source(f"operator {url.authority}", url.host, name="directories")
            self._waiting = [(encoded, source) for encoded in self._shuffled(records)]
            self._offering = Offering()
            self._offer()
            if records:
                return True
        return False

    async def _records_of(self, url: Url, connect: Connect) -> list[bytes]:
        async def get(path: str, most: int) -> object:
            answer = await ask(url, "GET", path, connect=connect, timeout_s=QUERY_TIMEOUT_S, max_body=most)
            if answer.status != 200:
                raise UnreachableError(f"operator: answered {answer.status}")
            return parse_json(answer.body, MAX_VALUES)

        operator, listing = await asyncio.gather(
            get("/api/operator", 4096), get("/api/relays/by-country", MAX_LISTING), return_exceptions=True
        )
        for result in (operator, listing):
            if isinstance(result, BaseException) and not isinstance(result, VigilnetError):
                raise result
        if isinstance(listing, BaseException):
            raise listing
        records = decode_listing(listing, MAX_RECORDS)
        own = None if isinstance(operator, BaseException) else decode_operator(operator)
        return records if own is None or own in records else [own, *records]

    async def _keep_offering(self) -> None:
        pause = OFFER_EACH_S
        while True:
            await asyncio.sleep(pause)
            pause = PAUSE_S if self._offer() is Course.PAUSE else OFFER_EACH_S

    def _offer(self) -> Course:
        """Offer what waits until the peer table has had enough for now; return why it ends."""
        while self._waiting:
            encoded, source = self._waiting[-1]
            verdict = self._asker.take(encoded, source)
            course = self._offering.judged(verdict)
            if course is Course.LATER:
                return course
            self._waiting.pop()
            if verdict.is_fault:
                _log.info("operator lists an unusable record", reason=verdict.reason)
            if course is Course.LEAVE:
                _log.warning("operator lists records that are not good, or of no use")
                self._waiting.clear()
            if course is not Course.ON:
                return course
        return Course.ON

    async def _keep_registering(self, url: Url) -> None:
        while True:
            wait = self._options.heartbeat_s
            said = self._asker.registration()
            if said is not None:
                wait = min(wait, await self._register(url, said))
            await asyncio.sleep(wait)

    async def _register(self, url: Url, said: Registration) -> float:
        """Register; return after how long to come again at the latest."""
        try:
            body = json.dumps(encode_registration(said), separators=(",", ":")).encode()
            answer = await ask(url, "POST", "/api/relay/register", body, timeout_s=REGISTER_TIMEOUT_S)
            reason = "" if answer.status == 200 else _reason(answer)
        except VigilnetError as error:
            answer, reason = None, str(error)
        if self.registered.get(url) != reason:
            self.registered[url] = reason
            if reason:
                _log.warning("operator does not list us", operator=sensitive(url.authority), reason=reason)
            else:
                _log.info("operator lists us", operator=sensitive(url.authority))
        if answer is None or answer.status != 429:
            return self._options.heartbeat_s
        again = answer.headers.get("retry-after", "")
        return max(1.0, float(again)) if again.isdecimal() else self._options.heartbeat_s

    def _shuffled(self, items: Sequence[_T]) -> list[_T]:
        keyed = [(self._random_bytes(8), item) for item in items]
        return [item for _, item in sorted(keyed, key=lambda pair: pair[0])]

    def _chance(self) -> float:
        return int.from_bytes(self._random_bytes(4)) / 2**32


def _reason(answer: Answer) -> str:
    """Return what the directory says, shortened to what may stand in a log."""
    try:
        value = parse_json(answer.body)
    except RemoteProtocolError:
        value = None
    texts = [str(value.get(name, "")) for name in ("error", "details")] if isinstance(value, dict) else []
    said = ": ".join(text for text in texts if text)
    shown = "".join(letter for letter in said if letter.isascii() and letter.isprintable())[:120]
    return f"answered {answer.status} ({shown})" if shown else f"answered {answer.status}"
