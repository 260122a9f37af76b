"""What the helper needs of an operating system (sans-IO; docs/spec/device.md section 3).

`traffic.backends` has one for each way in which a system lets its traffic be taken, and chooses among them.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Protocol

from vigilnet.traffic.device.settings import DeviceSettings


class Capture(StrEnum):
    """How TCP and questions for names come to the daemon."""

    REDIRECT = "redirect"  # by the firewall, to its listeners; the rest comes by the interface
    INTERFACE = "interface"  # like everything else


class Framing(StrEnum):
    """What is before a packet at the descriptor of the interface."""

    VIRTIO = "virtio"  # a virtio header: Linux
    FAMILY = "family"  # four octets of address family: macOS
    NOTHING = "nothing"  # Windows, by a pair of datagram sockets


class Backend(Protocol):
    """One machine's routes, firewall, interface and groups of programs; all of it needs rights.

    Every method may raise EnvironmentRefusedError, which says what the system refuses.
    """

    @property
    def capture(self) -> Capture:
        """How TCP comes."""
        ...

    @property
    def framing(self) -> Framing:
        """What is before a packet at the interface's descriptor."""
        ...

    def outer_interface(self) -> int:
        """The index of the interface that our own sockets must bind themselves to; 0 where marks do that."""
        ...

    @property
    def is_up(self) -> bool:
        """Whether traffic is being taken."""
        ...

    @property
    def is_locked(self) -> bool:
        """Whether lockdown is on."""
        ...

    @property
    def can_split(self) -> bool:
        """Whether programs can be told apart here."""
        ...

    def up(self, settings: DeviceSettings, asker: int) -> int:
        """Protect the device, closing first; return the interface's descriptor, which stays the backend's.

        Args:
            settings: see there.
            asker: the user who wants it, and whose programs are remembered; 0: everybody's.
        """
        ...

    def update(self, settings: DeviceSettings, asker: int) -> None:
        """Change the settings of a protected device without opening it in between."""
        ...

    def refresh(self) -> None:
        """Groups or interfaces changed: write the firewall anew if it is up."""
        ...

    def down(self) -> None:
        """Put everything back; with lockdown on, nothing leaves."""
        ...

    def restore(self, *, everybody: bool = False) -> None:
        """Remove whatever of ours is there, also what a killed helper has left; `everybody`: groups, too."""
        ...

    def set_lockdown(self, *, is_on: bool) -> None:
        """Keep the device closed while it is not protected, until told otherwise."""
        ...

    def open_addresses(self, purpose: str, addresses: Iterable[str], seconds: int) -> None:
        """Let addresses around the tunnel for a time."""
        ...

    def counters(self) -> dict[str, int]:
        """Packets by what became of them."""
        ...

    def adopt(self, pid: int, asker: int) -> None:
        """Have the sockets that the daemon, and what it started, will make go around the tunnel.

        Args:
            pid: of the daemon.
            asker: the user that it is of; another's process is not meant, whatever its number.
        """
        ...

    def mark_sockets(self, descriptors: Sequence[int]) -> None:
        """Have sockets that the daemon made before go around the tunnel."""
        ...

    def join(self, pid: int, group: str, asker: int) -> None:
        """Put a program into a group, and what it starts; `asker` is the user who wants it."""
        ...
