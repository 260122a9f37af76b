"""A port of the router's is asked for, renewed and given back; whatever the router does, we go on."""

import asyncio
import importlib
from collections.abc import Awaitable, Callable

import pytest

from vigilnet.routing.discovery import port_mapping_io
from vigilnet.routing.discovery.port_mapping_io import Mapped, PortMapper
from vigilnet.routing.discovery.reachability import Mapping


class Router:
    """What miniupnpc's client does with a router on the LAN."""

    lanaddr = "192.168.1.5"
    discoverdelay = 0

    def __init__(self, *, found: int = 1, refuses: bool = False, raises: str = "") -> None:
        self.found, self.refuses, self.raises = found, refuses, raises
        self.mapped: list[tuple[object, ...]] = []
        self.asked = 0

    def __call__(self) -> "Router":
        return self

    def discover(self) -> int:
        return self.found

    def selectigd(self) -> str:
        if self.raises == "selectigd":
            raise Exception("No UPnP device discovered")  # noqa: TRY002  # as the library does
        return "url"

    def externalipaddress(self) -> str:
        return "203.0.113.9"

    def addportmapping(self, *arguments: object) -> bool:
        if self.raises == "addportmapping":
            raise Exception("ConflictInMappingEntry")  # noqa: TRY002  # as the library does
        self.asked += 1
        self.mapped.append(arguments)
        return not self.refuses

    def deleteportmapping(self, port: int, protocol: str) -> bool:
        if self.raises == "deleteportmapping":
            raise Exception("gone")  # noqa: TRY002  # as the library does
        self.mapped.clear()
        return True


def play(router: Router, test: Callable[[PortMapper, list[Mapped]], Awaitable[None]]) -> None:
    async def main() -> None:
        told: list[Mapped] = []
        heard = asyncio.Event()

        def changed(mapped: Mapped) -> None:
            told.append(mapped)
            heard.set()

        mapper = PortMapper(4001, changed, router, lambda: "")
        mapper.start()
        await asyncio.wait_for(heard.wait(), 60)
        await test(mapper, told)
        await mapper.close()
        await mapper.close()
        assert mapper._tasks.failures == []

    asyncio.run(main())


def test_a_port_is_mapped_and_given_back() -> None:
    router = Router()

    async def test(mapper: PortMapper, told: list[Mapped]) -> None:
        assert told == [Mapped(Mapping.MAPPED, "203.0.113.9", 4001, "UPnP")]
        assert router.mapped[0][:4] == (4001, "TCP", "192.168.1.5", 4001)

    play(router, test)
    assert router.mapped == []


@pytest.mark.parametrize(
    ("router", "state"),
    [
        (Router(found=0), Mapping.NO_ROUTER),
        (Router(raises="selectigd"), Mapping.NO_ROUTER),
        (Router(refuses=True), Mapping.REFUSED),
        (Router(raises="addportmapping"), Mapping.REFUSED),
        (Router(raises="deleteportmapping"), Mapping.MAPPED),
    ],
)
def test_whatever_the_router_does(router: Router, state: Mapping) -> None:
    async def test(mapper: PortMapper, told: list[Mapped]) -> None:
        assert mapper.now.state is state

    play(router, test)


def test_it_is_asked_again_before_the_lease_ends_and_nothing_new_is_not_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert port_mapping_io.RENEW_S < port_mapping_io.LEASE_S / 2
    monkeypatch.setattr(port_mapping_io, "RENEW_S", 0.001)
    router = Router()

    async def test(mapper: PortMapper, told: list[Mapped]) -> None:
        async with asyncio.timeout(60):
            while router.asked < 3:  # noqa: ASYNC110  # a thread counts
                await asyncio.sleep(0.005)
        assert len(told) == 1

    play(router, test)


def test_without_the_library_it_says_so_once_and_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)

    async def main() -> None:
        told: list[Mapped] = []
        monkeypatch.setattr(port_mapping_io, "RETRY_S", 0.001)
        mapper = PortMapper(4001, told.append, gateway=lambda: "")
        mapper.start()
        async with asyncio.timeout(60):
            while not told:  # noqa: ASYNC110  it is told by a callback
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)  # it asks again meanwhile
        assert told == [Mapped(Mapping.MISSING)]
        await mapper.close()

    asyncio.run(main())
