"""The item on the session's bus: StatusNotifierItem for the icon, dbusmenu for its menu.

Both are what KDE, XFCE, LXQt, Cinnamon, MATE, Ubuntu's GNOME and bars like waybar read. Answers are given by
hand from one table of properties: two small fixed interfaces need no object mapper.
"""

import asyncio
import os
from collections.abc import Callable
from typing import Any, Final

from dbus_fast import BusType, DBusError, Message, MessageType, NameFlag, RequestNameReply, Variant
from dbus_fast.aio import MessageBus

from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.surface.tray.icon import SIZES, pixmap
from vigilnet.surface.tray.menu import Entry, Picture

ITEM: Final = "org.kde.StatusNotifierItem"
WATCHER: Final = "org.kde.StatusNotifierWatcher"
MENU: Final = "com.canonical.dbusmenu"
ITEM_PATH: Final = "/StatusNotifierItem"
MENU_PATH: Final = "/MenuBar"
_PROPERTIES: Final = "org.freedesktop.DBus.Properties"
_BUS: Final = "org.freedesktop.DBus"
_OPEN_BY: Final = ("Activate", "SecondaryActivate")


class TrayItem:
    """One tray item.

    Args:
        on_action: called with the action of what the person chose.
    """

    def __init__(self, on_action: Callable[[str], None]) -> None:
        self._on_action = on_action
        self._name = f"{ITEM}-{os.getpid()}-1"
        self._bus = MessageBus(bus_type=BusType.SESSION)
        self._revision = 1
        self._picture = Picture("busy", "VigilNet", ())

    async def connect(self, own_name: str) -> None:
        """Join the session's bus and show up in its tray.

        Args:
            own_name: a name on the bus that only one item may have.

        Raises:
            EnvironmentRefusedError: no bus, no tray, or another item has the name.
        """
        try:
            await self._bus.connect()
        except (OSError, DBusError, ValueError, asyncio.IncompleteReadError) as error:
            raise EnvironmentRefusedError("this desktop session has no D-Bus") from error
        if await self._bus.request_name(own_name, NameFlag.DO_NOT_QUEUE) is RequestNameReply.EXISTS:
            raise EnvironmentRefusedError("it is shown already")
        self._bus.add_message_handler(self._receive)
        await self._bus.request_name(self._name)
        rule = f"type='signal',sender='{_BUS}',member='NameOwnerChanged',arg0='{WATCHER}'"
        await self._bus.call(Message(_BUS, "/", _BUS, "AddMatch", signature="s", body=[rule]))
        if not await self._register():
            raise EnvironmentRefusedError("this desktop has no tray (StatusNotifierItem)")

    @property
    def is_connected(self) -> bool:
        """Whether the session's bus is still there."""
        return bool(self._bus.connected)

    def close(self) -> None:
        """Leave the tray."""
        self._bus.disconnect()

    def show(self, picture: Picture) -> None:
        """Show this from now on."""
        before, self._picture = self._picture, picture
        if picture.tone != before.tone:
            self._signal(ITEM_PATH, ITEM, "NewIcon")
        if picture.title != before.title:
            self._signal(ITEM_PATH, ITEM, "NewTitle")
            self._signal(ITEM_PATH, ITEM, "NewToolTip")
        if picture.entries != before.entries:
            self._revision += 1
            self._signal(MENU_PATH, MENU, "LayoutUpdated", "ui", [self._revision, 0])

    async def notify(self, text: str) -> None:
        """Tell the person, if the desktop shows such notices."""
        name, path = "org.freedesktop.Notifications", "/org/freedesktop/Notifications"
        body = ["VigilNet", 0, "", "VigilNet", text, [], {}, -1]
        await self._bus.call(Message(name, path, name, "Notify", signature="susssasa{sv}i", body=body))

    async def _register(self) -> bool:
        reply = await self._bus.call(self._registration())
        return reply.message_type is MessageType.METHOD_RETURN

    def _registration(self) -> Message:
        path, member = "/StatusNotifierWatcher", "RegisterStatusNotifierItem"
        return Message(WATCHER, path, WATCHER, member, signature="s", body=[self._name])

    def _signal(self, path: str, interface: str, member: str, signature: str = "", body: Any = None) -> None:  # noqa: ANN401 as D-Bus has it
        self._bus.send(Message.new_signal(path, interface, member, signature, body or []))

    # --- what the desktop asks -------------------------------------------------------------------

    def _receive(self, message: Message) -> Message | bool | None:
        if message.member == "NameOwnerChanged" and message.sender == _BUS:
            if message.body[2]:  # the panel started again: show up there too
                self._bus.send(self._registration())
            return None
        if message.message_type is not MessageType.METHOD_CALL:
            return None
        answers = {_PROPERTIES: self._properties, ITEM: self._item, MENU: self._menu}
        answer = answers.get(message.interface or "")
        return answer(message) if answer is not None else None

    def _properties(self, message: Message) -> Message | None:
        interface = message.body[0] if message.body else ""
        table = {ITEM: self._item_properties, MENU: self._menu_properties}.get(interface)
        if table is None:
            return None
        known = table()
        if message.member == "GetAll":
            return Message.new_method_return(message, "a{sv}", [known])
        if message.member == "Get" and message.body[1] in known:
            return Message.new_method_return(message, "v", [known[message.body[1]]])
        return None

    def _item_properties(self) -> dict[str, Variant]:
        shown = self._picture
        icons = [[size, size, pixmap(shown.tone, size)] for size in SIZES]
        return {
            "Category": Variant("s", "Communications"),
            "Id": Variant("s", "vigilnet"),
            "Title": Variant("s", f"{shown.title} · VigilNet"),
            "Status": Variant("s", "Active"),
            "WindowId": Variant("i", 0),
            "IconName": Variant("s", ""),
            "IconPixmap": Variant("a(iiay)", icons),
            "OverlayIconName": Variant("s", ""),
            "AttentionIconName": Variant("s", ""),
            "ToolTip": Variant("(sa(iiay)ss)", ["", [], "VigilNet", shown.title]),
            "ItemIsMenu": Variant("b", False),
            "Menu": Variant("o", MENU_PATH),
        }

    @staticmethod
    def _menu_properties() -> dict[str, Variant]:
        return {
            "Version": Variant("u", 3),
            "TextDirection": Variant("s", "ltr"),
            "Status": Variant("s", "normal"),
            "IconThemePath": Variant("as", []),
        }

    def _item(self, message: Message) -> Message:
        if message.member in _OPEN_BY:
            self._on_action("open")
        return Message.new_method_return(message)

    def _menu(self, message: Message) -> Message | None:
        match message.member:
            case "GetLayout":
                children = [Variant("(ia{sv}av)", self._node(at)) for at in self._numbers()]
                root = [0, {"children-display": Variant("s", "submenu")}, children]
                layout = root if message.body[0] == 0 else self._node(message.body[0])
                return Message.new_method_return(message, "u(ia{sv}av)", [self._revision, layout])
            case "GetGroupProperties":
                asked = [at for at in message.body[0] or self._numbers() if at in self._numbers()]
                found = [[at, properties_of(self._picture.entries[at - 1])] for at in asked]
                return Message.new_method_return(message, "a(ia{sv})", [found])
            case "Event":
                self._chosen(message.body[0], message.body[1])
                return Message.new_method_return(message)
            case "EventGroup":
                for at, kind, _, _ in message.body[0]:
                    self._chosen(at, kind)
                return Message.new_method_return(message, "ai", [[]])
            case "AboutToShow":
                return Message.new_method_return(message, "b", [False])
            case "AboutToShowGroup":
                return Message.new_method_return(message, "aiai", [[], []])
            case _:
                return None

    def _numbers(self) -> range:
        return range(1, len(self._picture.entries) + 1)

    def _node(self, number: int) -> list[Any]:
        entry = self._picture.entries[number - 1] if number in self._numbers() else Entry()
        return [number, properties_of(entry), []]

    def _chosen(self, number: int, kind: str) -> None:
        if kind == "clicked" and number in self._numbers():
            action = self._picture.entries[number - 1].action
            if action:
                self._on_action(action)


def properties_of(entry: Entry) -> dict[str, Variant]:
    """Return a line of the menu as dbusmenu has it."""
    if not entry.label:
        return {"type": Variant("s", "separator")}
    shown = {
        "label": Variant("s", entry.label.replace("_", "__")),
        "enabled": Variant("b", bool(entry.action)),
    }
    if entry.is_checked is not None:
        shown["toggle-type"] = Variant("s", "checkmark")
        shown["toggle-state"] = Variant("i", int(entry.is_checked))
    return shown
