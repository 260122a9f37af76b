"""Sends the link's handshake packets in records that a shaper chooses (docs/spec/htx.md section 6)."""

import asyncio
from collections.abc import Callable
from typing import Final

from vigilnet.traffic.transport.htx.shaping import Shaper
from vigilnet.traffic.transport.htx.switch import EXTRA, PROFILE_SHIFT, SwitchKey
from vigilnet.traffic.transport.tcp_io import TcpCarrier

RECORD_COST: Final = 19  # of a record's length: tag and head
PLAN_COST: Final = 2
MIN_PLAN_ROOM: Final = 32


class PacketPump:
    """One direction of one connection between the switch and the link's first frame.

    Args:
        tcp: where records go.
        key: seals them.
        shaper: says when and how long.
        now: the clock.
        asks: whether our first record asks for the shaper's profile (a client's does).
        on_through: called soon after the last packet has left.
    """

    def __init__(
        self,
        tcp: TcpCarrier,
        key: SwitchKey,
        shaper: Shaper,
        now: Callable[[], float],
        *,
        asks: bool,
        on_through: Callable[[], None],
    ) -> None:
        self._on_through = on_through
        self._tcp = tcp
        self._key = key
        self.shaper: Final = shaper
        self._now = now
        self._asked = shaper.profile << PROFILE_SHIFT if asks else 0
        self._packets = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self._is_held = not asks
        self._is_client = asks
        self.has_all = False  # the last packet was added: a client's frames follow it at once
        self._is_over = False
        self._is_told = False

    @property
    def is_empty(self) -> bool:
        """Whether no octets of packets wait."""
        return not self._packets

    def prepare(self, flight: int) -> None:
        """Plan what follows the origin's first `flight` records (a relay); it takes a moment."""
        self.shaper.begin(flight, self._now())

    def begin(self) -> None:
        """They have left: ours follow."""
        self._is_held = False
        self.run()

    def add(self, octets: bytes | memoryview) -> None:
        """Send octets of packets when it is their time."""
        self._packets += octets

    def run(self) -> None:
        """Send the records that are due."""
        if self._is_held or self._is_over:
            return
        now, shaper, packets = self._now(), self.shaper, self._packets
        while length := shaper.next_record(now, len(packets)):
            room = length - RECORD_COST
            plan = b""
            if shaper.has_plan and room >= MIN_PLAN_ROOM:  # first: the client waits for it
                plan = shaper.take_plan(room - PLAN_COST)
                room -= PLAN_COST + len(plan)
            octets = bytes(packets[:room])
            del packets[:room]
            flags = self._asked | (EXTRA if shaper.is_extra else 0)
            self._asked = 0
            self._tcp.write((self._key.seal(octets, length - 16, flags, plan),))
            if self.has_all and not packets:
                self._through()
                if self._is_over:
                    return
        self._arm(shaper.deadline(), now)

    def _through(self) -> None:
        """Tell that the link may go on; a client's frames follow at once."""
        if self._is_client:
            self.stop()
        if not self._is_told:
            self._is_told = True
            asyncio.get_running_loop().call_soon(self._on_through)

    def _arm(self, due: float | None, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, due - now), self.run)

    def stop(self) -> None:
        """Send nothing more."""
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
