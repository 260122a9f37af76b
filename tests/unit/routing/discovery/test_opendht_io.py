"""The real engine, on loopback."""

import asyncio
import socket

import pytest

from vigilnet.base.errors import EnvironmentRefusedError

pytest.importorskip("opendht", reason="needs the extra `dht`")

from vigilnet.routing.discovery.opendht_io import OpenDhtEngine

KEY = bytes(range(20))


async def joined(node: OpenDhtEngine) -> None:
    async with asyncio.timeout(20):
        while not await node.is_joined():  # noqa: ASYNC110  # the engine tells nobody
            await asyncio.sleep(0.02)


@pytest.mark.slow
def test_nodes_of_a_network_find_values_and_others_do_not() -> None:
    async def main() -> None:
        nodes = [OpenDhtEngine("127.0.0.1", "", 0, 7) for _ in range(4)]
        stranger = OpenDhtEngine("127.0.0.1", "", 0, 8)
        try:
            for node in (*nodes[1:], stranger):
                node.bootstrap("127.0.0.1", nodes[0].port)
            for node in nodes:
                await joined(node)
            assert not await stranger.is_joined()
            nodes[1].put(KEY, b"first")
            nodes[2].put(KEY, b"second" * 100)
            found: list[bytes] = []
            async with asyncio.timeout(10):
                while len(found) < 2:
                    found = await nodes[3].get(KEY, 10, 2.0)
            assert sorted(found) == [b"first", b"second" * 100]
            assert len(await nodes[3].get(KEY, 1, 2.0)) == 1
            assert await stranger.get(KEY, 10, 0.2) == []
            nodes[1].put(KEY, b"third")
            async with asyncio.timeout(10):
                while b"third" not in found:
                    found = await nodes[3].get(KEY, 10, 2.0)
        finally:
            for node in (*nodes, stranger):
                await node.close()
                await node.close()

    asyncio.run(main())


def test_a_port_that_is_taken_is_told() -> None:
    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            with pytest.raises(EnvironmentRefusedError, match="UDP port"):
                OpenDhtEngine("127.0.0.1", "", taken.getsockname()[1], 7)

    asyncio.run(main())


@pytest.mark.slow
def test_many_look_ups_with_looks_at_the_network_between_them_stop_nobody() -> None:
    """The library's own status functions, called meanwhile, did: its thread and ours waited for ever."""

    async def main() -> None:
        nodes = [OpenDhtEngine("127.0.0.1", "", 0, 7) for _ in range(3)]
        for node in nodes[1:]:
            node.bootstrap("127.0.0.1", nodes[0].port)
        for node in nodes:
            await joined(node)
        for number in range(20):
            nodes[1].put(bytes([number]) * 20, b"value" * 50)
        for _ in range(8):
            async with asyncio.TaskGroup() as group:
                for number in range(20):
                    group.create_task(nodes[2].get(bytes([number]) * 20, 8, 5.0))
                    group.create_task(nodes[0].is_joined())
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(nodes[2].get(bytes([number]) * 20, 8, 0.001))
            for node in nodes:
                group.create_task(node.close())

    asyncio.run(main())
