import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.edge_servers import tcp_server
from tests.support.fake_node import FakeClock
from vigilnet.node.status import ClientFacts
from vigilnet.surface.device_watch import PROBE_EVERY_S, REFRESH_S, STUCK_S, DeviceWatch
from vigilnet.traffic.device.portal_io import Resolve

CONNECTED, STUCK = ClientFacts(3, has_path=True), ClientFacts(3)
PORTAL = b"HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n"
FREE = b"HTTP/1.1 200 OK\r\n\r\nsuccess\n"


class Watched:
    """A node that can be without a path, on a network that answers as it is told."""

    def __init__(self) -> None:
        self.facts: ClientFacts | None = STUCK
        self.answer = PORTAL
        self.asked = self.refreshes = 0
        self.probe = ""

    def client_facts(self) -> ClientFacts | None:
        return self.facts

    async def refreshed(self) -> Any:  # noqa: ANN401 nobody looks at it
        self.refreshes += 1

    def names_of_network(self) -> tuple[str, Resolve]:
        async def resolve(host: str) -> list[str]:
            raise AssertionError(host)

        return self.probe, resolve

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(self.answer)
        writer.close()


@asynccontextmanager
async def network() -> AsyncIterator[tuple[Watched, FakeClock, DeviceWatch]]:
    watched, clock = Watched(), FakeClock()
    async with tcp_server(watched.serve) as port:
        watched.probe = f"http://127.0.0.1:{port}/success.txt"
        yield watched, clock, DeviceWatch(watched, clock)


def test_network_is_asked_only_after_a_while_without_a_path_and_seldom() -> None:
    async def script() -> None:
        async with network() as (watched, clock, watch):
            await watch.look()
            clock.at += STUCK_S - 1
            await watch.look()
            assert (watched.asked, watch.portal) == (0, "")
            clock.at += 1
            await watch.look()
            assert watch.portal.endswith("/login")
            await watch.look()
            assert watched.asked == 1
            watched.answer = FREE
            clock.at += PROBE_EVERY_S
            await watch.look()
            assert (watched.asked, watch.portal) == (2, "")

    asyncio.run(script())


@pytest.mark.parametrize("facts", [None, CONNECTED])
def test_a_path_or_being_off_ends_it(facts: ClientFacts | None) -> None:
    async def script() -> None:
        async with network() as (watched, clock, watch):
            await watch.look()
            clock.at += STUCK_S
            await watch.look()
            assert watch.portal
            watched.facts = facts
            await watch.look()
            assert watch.portal == ""
            watched.facts = STUCK
            await watch.look()
            assert watched.asked == 1, "it waits anew"

    asyncio.run(script())


def test_without_a_page_to_ask_for_or_an_answer_there_is_none() -> None:
    async def script() -> None:
        async with network() as (watched, clock, watch):
            page, watched.probe = watched.probe, ""
            await watch.look()
            clock.at += STUCK_S
            await watch.look()
            assert watched.asked == 0
            watched.probe, watched.answer = page, b""
            await watch.look()
            assert (watched.asked, watch.portal) == (1, "")

    asyncio.run(script())


def test_helper_is_asked_now_and_then() -> None:
    async def script() -> None:
        async with network() as (watched, clock, watch):
            watched.facts = CONNECTED
            for _ in range(6):
                await watch.look()
                clock.at += REFRESH_S / 5
            assert watched.refreshes == 2

    asyncio.run(script())
