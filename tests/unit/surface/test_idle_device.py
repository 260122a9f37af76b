import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from vigilnet.surface.control.schema import ControlError
from vigilnet.surface.idle_device import IdleDevice
from vigilnet.traffic.device.helper_client_io import HelperMissingError
from vigilnet.traffic.device.options import Options


@pytest.fixture
def helper(tmp_path: Path) -> Iterator[Path]:
    """Something that answers as the helper does: it keeps lockdown, nothing else."""
    path = tmp_path / "helper.sock"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        connection, _ = listener.accept()
        is_locked = False
        with connection:
            while request := connection.recv(65536):
                asked = json.loads(request)
                is_locked = asked.get("is_on", is_locked)
                connection.send(json.dumps({"is_up": False, "is_locked": is_locked}).encode())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield path
    listener.close()


def test_lockdown_is_seen_and_switched_while_off(helper: Path) -> None:
    async def script() -> None:
        device = IdleDevice(Options(helper=helper))
        assert not (await device.refreshed()).is_locked
        assert (await device.lockdown(is_on=True)).is_locked
        seen = await device.down()
        assert (seen.is_up, seen.is_locked, seen.has_helper) == (False, True, True)
        assert (await device.change(dns="overlay")).dns == "overlay"
        device.close()

    asyncio.run(script())


def test_what_needs_a_node_is_refused_and_says_how_to_have_one(tmp_path: Path) -> None:
    async def script() -> None:
        device = IdleDevice(Options(helper=tmp_path / "none.sock"))
        for refused in (device.up(), device.portal("", 1), device.join(1, "outside")):
            with pytest.raises(ControlError) as caught:
                await refused
            assert (caught.value.code, caught.value.next) == ("off", "vigilnet connect")

    asyncio.run(script())


def test_without_a_helper_nothing_is_locked(tmp_path: Path) -> None:
    async def script() -> None:
        device = IdleDevice(Options(helper=tmp_path / "none.sock"))
        seen = await device.refreshed()
        assert (seen.has_helper, seen.is_locked) == (False, False)
        with pytest.raises(HelperMissingError):
            await device.lockdown(is_on=True)

    asyncio.run(script())
