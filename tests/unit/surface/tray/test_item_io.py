"""The item on a bus of its own, asked what a panel asks."""

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.needs import needs_programs
from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.surface.tray.menu import Entry, Picture

pytest.importorskip("dbus_fast", reason="the extra `desktop` is not installed")

from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from vigilnet.surface.tray.item_io import ITEM, ITEM_PATH, MENU, MENU_PATH, WATCHER, TrayItem, properties_of

pytestmark = needs_programs("dbus-daemon")
PICTURE = Picture("ok", "Protected", (Entry(label="Protected"), Entry(), Entry("open", "Open"),
                                      Entry("lockdown-on", "Lockdown", is_checked=False)))  # fmt: skip


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    program = shutil.which("dbus-daemon")
    assert program is not None
    with subprocess.Popen(
        [program, "--session", "--nofork", "--print-address"], stdout=subprocess.PIPE, text=True
    ) as daemon:
        assert daemon.stdout is not None
        address = daemon.stdout.readline().strip()
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", address)
        yield address
        daemon.terminate()


class Panel:
    """What a desktop's panel does: keeps the list of items, reads one, clicks on its menu."""

    def __init__(self) -> None:
        self.items: list[str] = []
        self.signals: list[str | None] = []
        self.notices: list[str] = []

    async def start(self) -> None:
        self.bus = await MessageBus().connect()
        self.bus.add_message_handler(self._receive)
        for name in (WATCHER, "org.freedesktop.Notifications"):
            await self.bus.request_name(name)
        rule = Message("org.freedesktop.DBus", "/", "org.freedesktop.DBus", "AddMatch",
                       signature="s", body=["type='signal'"])  # fmt: skip
        await self.bus.call(rule)

    def _receive(self, message: Message) -> Message | None:
        if message.message_type is MessageType.SIGNAL:
            self.signals.append(message.member)
        elif message.member == "RegisterStatusNotifierItem":
            self.items.append(message.body[0])
            return Message.new_method_return(message)
        elif message.member == "Notify":
            self.notices.append(message.body[4])
            return Message.new_method_return(message, "u", [1])
        return None

    async def ask_bus(self) -> None:
        """A turn of the bus: what was on its way before it has come."""
        await self.bus.call(Message("org.freedesktop.DBus", "/", "org.freedesktop.DBus", "GetId"))

    async def ask(self, path: str, interface: str, member: str, signature: str = "", *body: Any) -> Any:  # noqa: ANN401 as D-Bus has it
        reply = await self.bus.call(
            Message(self.items[-1], path, interface, member, signature=signature, body=list(body))
        )
        assert reply.message_type is MessageType.METHOD_RETURN, reply.body
        return reply.body


def test_panel_reads_the_item_and_clicks_on_its_menu(bus: str) -> None:
    asyncio.run(panel_reads_the_item())


async def panel_reads_the_item() -> None:
    panel = Panel()
    chosen: list[str] = []
    await panel.start()
    item = TrayItem(chosen.append)
    await item.connect("org.vigilnet.tray.test")
    item.show(PICTURE)
    (known,) = await panel.ask(ITEM_PATH, "org.freedesktop.DBus.Properties", "GetAll", "s", ITEM)
    assert known["Title"].value == "Protected · VigilNet"
    assert known["Menu"].value == MENU_PATH
    assert [len(pixels) for _, _, pixels in known["IconPixmap"].value] == [
        22 * 22 * 4,
        32 * 32 * 4,
        48 * 48 * 4,
    ]
    (status,) = await panel.ask(ITEM_PATH, "org.freedesktop.DBus.Properties", "Get", "ss", ITEM, "Status")
    assert status.value == "Active"
    revision, layout = await panel.ask(MENU_PATH, MENU, "GetLayout", "iias", 0, -1, [])
    children = [child.value for child in layout[2]]
    assert [child[1].get("label", Variant("s", "-")).value for child in children] == [
        "Protected", "-", "Open", "Lockdown"]  # fmt: skip
    assert [child[0] for child in children] == [1, 2, 3, 4]
    (group,) = await panel.ask(MENU_PATH, MENU, "GetGroupProperties", "aias", [4, 99], [])
    assert group[0][1]["toggle-state"].value == 0
    assert len(group) == 1
    assert await panel.ask(MENU_PATH, MENU, "AboutToShow", "i", 0) == [False]
    await panel.ask(MENU_PATH, MENU, "Event", "isvu", 1, "clicked", Variant("i", 0), 0)  # does nothing
    await panel.ask(MENU_PATH, MENU, "Event", "isvu", 3, "hovered", Variant("i", 0), 0)
    await panel.ask(MENU_PATH, MENU, "EventGroup", "a(isvu)", [[4, "clicked", Variant("i", 0), 0]])
    await panel.ask(ITEM_PATH, ITEM, "Activate", "ii", 1, 1)
    assert chosen == ["lockdown-on", "open"]
    item.show(Picture("bad", "Not protected", PICTURE.entries[:3]))
    await item.notify("what failed")
    assert panel.notices == ["what failed"]
    assert {"NewIcon", "NewTitle", "NewToolTip", "LayoutUpdated"} <= set(panel.signals)
    again, _ = await panel.ask(MENU_PATH, MENU, "GetLayout", "iias", 3, -1, [])
    assert again > revision
    item.close()
    panel.bus.disconnect()


def test_second_item_and_one_without_a_tray_are_refused(bus: str) -> None:
    async def refused() -> None:
        alone = TrayItem(print)
        with pytest.raises(EnvironmentRefusedError, match="no tray"):
            await alone.connect("org.vigilnet.tray.alone")
        panel = Panel()
        await panel.start()
        first, second = TrayItem(print), TrayItem(print)
        await first.connect("org.vigilnet.tray.test")
        with pytest.raises(EnvironmentRefusedError, match="shown already"):
            await second.connect("org.vigilnet.tray.test")
        for one in (alone, first, second):
            one.close()
        panel.bus.disconnect()

    asyncio.run(refused())


def test_item_shows_up_in_a_panel_that_starts_again(bus: str) -> None:
    async def again() -> None:
        first = Panel()
        await first.start()
        item = TrayItem(print)
        await item.connect("org.vigilnet.tray.test")
        first.bus.disconnect()
        second = Panel()
        await second.start()
        async with asyncio.timeout(60):
            while not second.items:
                await second.ask_bus()
        item.close()
        second.bus.disconnect()

    asyncio.run(again())


def test_without_a_bus_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent/bus")

    async def refused() -> None:
        item = TrayItem(print)
        with pytest.raises(EnvironmentRefusedError, match="no D-Bus"):
            await item.connect("org.vigilnet.tray.test")

    asyncio.run(refused())


def test_lines_of_the_menu() -> None:
    assert properties_of(Entry())["type"].value == "separator"
    assert properties_of(Entry("x", "a_b"))["label"].value == "a__b"
    assert not properties_of(Entry(label="told"))["enabled"].value
