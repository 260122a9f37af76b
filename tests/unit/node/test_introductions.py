"""How often a record changes for its introducers, and where both ends dial at once."""

import asyncio
from itertools import pairwise

import pytest

from tests.support.virtual_loop import VirtualClock, VirtualLoop, run
from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.node.introductions import MAX_GAP_S, RecordChanges, TcpPuncher
from vigilnet.routing.discovery.introduction import Endpoint
from vigilnet.routing.discovery.introduction_io import IntroductionError


def test_the_first_change_is_told_at_once_and_later_ones_more_and_more_seldom() -> None:
    loop, told = VirtualLoop(), list[float]()
    clock = VirtualClock(loop)

    async def scenario() -> None:
        changes = RecordChanges(lambda: told.append(clock.now()), clock)
        begun = clock.now()
        for _ in range(600):
            changes.changed()
            await asyncio.sleep(1.0)
        changes.close()
        gaps = [round(later - earlier) for earlier, later in pairwise(told)]
        assert told[0] == begun
        assert gaps[:4] == [1, 2, 4, 8]
        assert max(gaps) == MAX_GAP_S
        count = len(told)
        await asyncio.sleep(200.0)
        assert len(told) == count

    run(scenario(), loop)


def test_a_record_that_cannot_be_issued_now_is_tried_again() -> None:
    loop, tries = VirtualLoop(), list[int]()

    def apply() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise EnvironmentRefusedError("the disk is full")

    async def scenario() -> None:
        changes = RecordChanges(apply, VirtualClock(loop))
        changes.changed()
        await asyncio.sleep(5.0)
        assert len(tries) == 2
        changes.close()

    run(scenario(), loop)


def test_private_addresses_are_not_dialled_at_once() -> None:
    puncher = TcpPuncher(None, None, allow_private=False)  # type: ignore[arg-type]  # neither is asked

    async def main() -> None:
        with pytest.raises(IntroductionError, match="private"):
            await puncher.accept(("192.168.1.2", 1), Endpoint("192.168.1.3", 4001))

    asyncio.run(main())
