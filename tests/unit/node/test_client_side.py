"""The pools of programs that are bound to an exit: they choose paths as carefully as everybody's."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from vigilnet.node.assembly import Node
from vigilnet.node.options import NodeOptions, Options
from vigilnet.routing.circuits.pool import Options as CircuitsOptions
from vigilnet.routing.discovery.options import Options as DiscoveryOptions
from vigilnet.traffic.ingress.options import Options as IngressOptions


@pytest.mark.slow  # a node that really starts
def test_bound_programs_go_on_paths_chosen_as_all_others_are(tmp_path: Path) -> None:
    async def scenario() -> None:
        node = Node(
            Options(
                node=NodeOptions(state_folder=tmp_path / "node"),
                discovery=DiscoveryOptions(sources=("cache",)),
                ingress=IngressOptions(socks_port=0, http_enabled=False),
            )
        )
        await node.start()
        try:
            side = node._client
            assert side is not None
            assert node._known is not None
            bound = side._pool_for_exit("SE")
            assert bound._is_vouched == side.pool._is_vouched == node._known.is_vouched
            assert bound.guards is side.pool.guards
            node.choose_paths(replace(CircuitsOptions(), hops=5, exit_country="DE"))
            assert (side.pool.options.hops, side.pool.options.exit_country) == (5, "DE")
            assert (bound.options.hops, bound.options.exit_country) == (5, "SE")
        finally:
            await node.stop()

    asyncio.run(scenario())
