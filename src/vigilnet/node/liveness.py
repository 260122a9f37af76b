"""Whether relays that an operator lists by hearsay still answer.

A relay that registers says so itself every 30 s. One that is listed because this node heard of it by gossip
and reached it once may have ended long since: each is dialled again now and then, and is not listed while it
is silent.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from vigilnet.base.clock import Clock
from vigilnet.base.errors import VigilnetError
from vigilnet.base.tasks import TaskGroup
from vigilnet.peer.descriptor import PeerRecord

CHECK_EACH_S: Final = 1200.0  # one relay
STEP_S: Final = 2.0  # between two relays: 600 are kept up with, more take longer


class Links(Protocol):
    """What this needs of the link room."""

    def get(self, identity: bytes) -> object | None:
        """Return the open link, if there is one."""
        ...

    async def connect(self, identity: bytes) -> object:
        """Open a link; raises VigilnetError or OSError."""
        ...


class LivenessChecks:
    """Looks at one relay after another until closed.

    Args:
        links: the link room; links that nobody needs are closed by gossip.
        relays: whom to look at.
        clock: time.
    """

    def __init__(self, links: Links, relays: Callable[[], Iterable[PeerRecord]], clock: Clock) -> None:
        self._links = links
        self._relays = relays
        self._clock = clock
        self._tasks = TaskGroup("liveness")
        self._checked: dict[bytes, float] = {}
        self.silent: set[bytes] = set()

    def start(self) -> None:
        """Begin."""
        self._tasks.start("check", self._keep_checking())

    async def close(self) -> None:
        """Stop."""
        await self._tasks.close()

    async def _keep_checking(self) -> None:
        while True:
            await asyncio.sleep(STEP_S)
            await self.check_next()

    async def check_next(self) -> None:
        """Look at the relay that was not looked at for longest, if it is time."""
        now = self._clock.now()
        relays = {record.identity for record in self._relays()}
        self._checked = {identity: self._checked.get(identity, now) for identity in relays}
        self.silent &= relays
        for identity in [identity for identity in relays if self._links.get(identity) is not None]:
            self._answered(identity, now)
        due = min(self._checked, key=self._checked.__getitem__, default=None)
        if due is None or now - self._checked[due] < CHECK_EACH_S:
            return
        try:
            await self._links.connect(due)
            self._answered(due, now)
        except (VigilnetError, OSError):
            self.silent.add(due)
            self._checked[due] = now

    def _answered(self, identity: bytes, now: float) -> None:
        self._checked[identity] = now
        self.silent.discard(identity)
