"""Many nodes in memory on a virtual clock: who gets which link, and when it is dialled again."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from tests.support.links import LinkPair, ListSource, Nodes, make_frame
from tests.support.virtual_loop import VirtualLoop, run

Scenario = Callable[[VirtualLoop], Coroutine[Any, Any, None]]


def play(scenario: Scenario) -> None:
    loop = VirtualLoop()
    run(scenario(loop), loop)


def test_runs_cross_a_link_in_order() -> None:
    async def scenario(loop: VirtualLoop) -> None:
        pair = await LinkPair.open(loop)
        frames = [make_frame(circuit=n, cells=1 if n % 3 else 7) for n in range(1, 200)]
        sent = [bytes(frame[6:-16]) for frame in frames]
        pair.client_link.activate(ListSource(*frames))
        await asyncio.sleep(1)
        assert pair.relay_receiver.runs == sent
        await pair.close()
        assert pair.client_receiver.is_closed
        assert pair.relay_receiver.is_closed

    play(scenario)


def test_concurrent_connects_share_one_dial() -> None:
    async def scenario(loop: VirtualLoop) -> None:
        nodes = Nodes(loop)
        relay = await nodes.relay("relay", "192.0.2.2")
        client = nodes.client("198.51.100.1")
        assert relay.identity is not None
        links = await asyncio.gather(*(client.service.connect(relay.identity) for _ in range(10)))
        assert len(set(links)) == 1
        assert len(nodes.hub.dials) == 1
        assert await client.service.connect(relay.identity) is links[0]
        await nodes.close()

    play(scenario)
