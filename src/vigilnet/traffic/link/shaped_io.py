"""A link's sending where the carrier decides on sizes and times (docs/spec/htx.md section 11; hot path)."""

import asyncio
import math
from collections.abc import Callable
from typing import Final

from vigilnet.traffic.cell import BULK_CELLS, CELL_SIZE
from vigilnet.traffic.link.machine import LinkMachine, LinkState
from vigilnet.traffic.link.parts import EXTRA, FULL_ROOM, MIN_LENGTH, PLAN_HEAD
from vigilnet.traffic.transport.carrier import Carrier, RecordShaper, ShapedCarrier

RECORDS_PER_TURN: Final = 3  # or streams of full ones; then the loop's others get their turn
STREAMED_RECORDS: Final = 8  # full ones in one go
STREAMED_OCTETS: Final = CELL_SIZE * BULK_CELLS
MIN_PLAN_ROOM: Final = 32
BURST_RECORDS: Final = 24
BURST_OCTETS: Final = 16_000


class ShapedSender:
    """Asks a carrier's shaper for records and fills them.

    Args:
        carrier: writes them.
        shaped: the same, as one that has a shaper.
        now: the clock.
        again: has `flush` called soon.
    """

    def __init__(
        self, carrier: Carrier, shaped: ShapedCarrier, now: Callable[[], float], again: Callable[[], None]
    ) -> None:
        self._carrier = carrier
        self._shaped = shaped
        self._now = now
        self._again = again
        self._shaper: RecordShaper | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = math.inf
        self._is_eased = False
        self.octets_sent = 0

    @property
    def name(self) -> str:
        """The profile's; empty before the handshake is through."""
        return self._shaper.name if self._shaper is not None else ""

    @property
    def cost(self) -> tuple[int, float]:
        """Octets that carried nothing, and the longest that something waited."""
        return self._shaper.cost if self._shaper is not None else (0, 0.0)

    def flush(self, machine: LinkMachine) -> bool:
        """Send what is due; return whether the carrier takes more."""
        if packets := machine.take_packets():
            self._carrier.write(packets)
        shaper = self._take_over(machine)
        if shaper is None:
            return True
        now = self._now()
        self._write(machine.control_records(now, is_free=shaper.is_free))
        for _ in range(RECORDS_PER_TURN):
            if shaper.may_stream(now) and (records := self._stream(machine, shaper, now)):
                if not self._write(records):
                    return False
                continue
            if not (records := self._burst(machine, shaper, now)):
                self._arm(shaper.deadline(), now)
                return True
            if not self._write(records):
                return False
        self._again()
        return True

    def _burst(self, machine: LinkMachine, shaper: RecordShaper, now: float) -> list[memoryview]:
        """Return records that are due, sealed: what a browser says in one go leaves in one go."""
        records: list[memoryview] = []
        octets = 0
        while (
            len(records) < BURST_RECORDS
            and octets < BURST_OCTETS
            and not (records and shaper.may_stream(now))
            and (length := shaper.next_record(now, machine.waiting(now, FULL_ROOM)))
        ):
            records += self._record(machine, shaper, length, now)
            octets += length
        return records

    def _take_over(self, machine: LinkMachine) -> RecordShaper | None:
        """Return the shaper once it is ours, with what came before."""
        if self._shaper is None and machine.state is LinkState.OPEN:
            self._shaper = self._shaped.take_shaper()
            if self._shaper is not None:
                self.received(machine)
        return self._shaper

    @staticmethod
    def _stream(machine: LinkMachine, shaper: RecordShaper, now: float) -> list[memoryview]:
        """Return the next records of a stream: what was begun to be cut, then full ones."""
        if left := machine.leftover:
            return machine.cut_record(shaper.rest(left, now), EXTRA, b"", now)
        records = machine.full_records(STREAMED_RECORDS, now)
        shaper.streamed(len(records), len(records) * STREAMED_OCTETS, now)
        return records

    @staticmethod
    def _record(machine: LinkMachine, shaper: RecordShaper, length: int, now: float) -> list[memoryview]:
        plan = b""
        if shaper.has_plan and length >= MIN_LENGTH + PLAN_HEAD + MIN_PLAN_ROOM:
            plan = shaper.take_plan(length - MIN_LENGTH - PLAN_HEAD)
        return machine.cut_record(length, EXTRA if shaper.is_extra else 0, plan, now)

    def _write(self, records: list[memoryview]) -> bool:
        """Send each record by itself: joined ones would show in the segments."""
        is_writable, write = True, self._carrier.write
        for record in records:
            self.octets_sent += len(record)
            is_writable = write((record,))
        return is_writable

    def received(self, machine: LinkMachine) -> None:
        """Tell the shaper what came."""
        joiner = machine.joiner
        if joiner is None:
            return
        shaper = self._shaper or self._take_over(machine)
        if shaper is None:
            return
        shaper.other_waits = joiner.more
        if joiner.has_stream and not self._is_eased:
            self._is_eased = True
            self._shaped.ease_reads()
        if joiner.extra:
            shaper.extra_received(joiner.extra, self._now())
            joiner.extra = 0
            self._rearm(shaper)
        if joiner.planned or joiner.plan:
            if joiner.plan:
                shaper.plan_received(joiner.plan)
                joiner.plan = b""
            shaper.received(joiner.planned, self._now())
            joiner.planned = 0
            self._again()

    def _rearm(self, shaper: RecordShaper) -> None:
        self._arm(shaper.deadline(), self._now())

    def _arm(self, due: float | None, now: float) -> None:
        """Have `flush` called when it is due; a timer that fires before does no harm."""
        if due is None or due >= self._due:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = asyncio.get_running_loop().call_later(max(0.0, due - now), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._due = math.inf
        self._again()

    def close(self) -> None:
        """Send nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
