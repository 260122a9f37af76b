"""A helper over a kernel that only remembers what it was told, for tests without rights."""

import contextlib
import os
import socket
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.traffic.backends.cgroups_io import ControlGroups
from vigilnet.traffic.backends.firewall_io import Nftables
from vigilnet.traffic.backends.linux_io import Kernel
from vigilnet.traffic.device.backend import Capture
from vigilnet.traffic.device.helper_io import Helper, listen
from vigilnet.traffic.device.settings import DeviceSettings


class FakeGroups(ControlGroups):
    """Groups that are a dictionary."""

    def __init__(self) -> None:
        super().__init__("fake")
        self.joined: list[tuple[int, str]] = []

    @property
    def exist(self) -> bool:
        return True

    def join(self, pid: int, group: str) -> None:
        self.joined.append((pid, group))

    def members(self, group: str) -> list[int]:
        return [pid for pid, name in self.joined if name == group]


class FakeKernel(Kernel):
    """Remembers; `refusal` makes `up` fail."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, folder / "keep", "fake", Nftables())
        self.groups = FakeGroups()
        self.said: list[object] = []
        self.refusal = ""
        self.way = Capture.REDIRECT
        self.device, self.applications = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.device.setblocking(False)
        self.applications.setblocking(False)

    @property
    def capture(self) -> Capture:
        return self.way

    def up(self, settings: DeviceSettings, asker: int) -> int:
        if self.refusal:
            raise EnvironmentRefusedError(self.refusal)
        self.said.append(("up", settings))
        self._settings = settings
        return self.device.fileno()

    def update(self, settings: DeviceSettings, asker: int) -> None:
        if self.refusal:
            raise EnvironmentRefusedError(self.refusal)
        self.said.append(("update", settings))
        self._settings = settings

    def refresh(self) -> None:
        self.said.append("refresh")

    def down(self) -> None:
        self.said.append("down")
        self._settings = None

    def restore(self, *, everybody: bool = False) -> None:
        self.said.append(("restore", everybody))
        self._settings = None

    def set_lockdown(self, *, is_on: bool) -> None:
        self._lockdown.set(is_on=is_on)

    def open_addresses(self, purpose: str, addresses: Iterable[str], seconds: int) -> None:
        self.said.append((purpose, tuple(addresses), seconds))

    def counters(self) -> dict[str, int]:
        return {"own": 1, "outside": 2, "refused": 3}


@dataclass
class RunningHelper:
    """A helper in a thread of its own."""

    path: Path
    kernel: FakeKernel
    helper: Helper
    threads: list[threading.Thread] = field(default_factory=list)


@contextlib.contextmanager
def running_helper(folder: Path) -> Iterator[RunningHelper]:
    """Serve a helper in `folder` while the block runs."""
    path = folder / "helper.sock"
    kernel = FakeKernel(folder)
    listener = listen(path, os.getuid())
    helper = Helper(kernel, listener, os.getuid())
    thread = threading.Thread(target=helper.serve)
    thread.start()
    try:
        yield RunningHelper(path, kernel, helper)
    finally:
        helper.stop()
        thread.join()
        helper.close()
        kernel.device.close()
        kernel.applications.close()
