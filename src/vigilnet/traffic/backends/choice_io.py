"""Which backend this machine has: the one place that asks which system it is."""

import sys
from pathlib import Path

from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.traffic.backends import commands_io
from vigilnet.traffic.device.backend import Backend, Capture


def choose_backend(
    run_folder: Path, state_folder: Path, group_name: str, capture: Capture | None = None
) -> Backend:
    """Return this machine's backend.

    Args:
        run_folder: where what must be put back is written down; empty after a reboot.
        state_folder: where it is written down that lockdown is on; survives a reboot.
        group_name: of the control groups, unlike those of other instances.
        capture: how TCP shall come; left out: by redirect where there is nftables.

    Raises:
        EnvironmentRefusedError: there is none for this system.
    """
    if sys.platform == "linux":  # imported here, since each needs modules that its own system alone has
        from vigilnet.traffic.backends.firewall_io import DoorFilters, Nftables
        from vigilnet.traffic.backends.linux_io import Kernel

        capture = capture or (Capture.REDIRECT if _has_nftables() else Capture.INTERFACE)
        firewall = Nftables() if capture is Capture.REDIRECT else DoorFilters(run_folder / "doors.json")
        return Kernel(run_folder, state_folder, group_name, firewall)
    if sys.platform == "darwin":
        from vigilnet.traffic.backends.macos_io import Mac

        return Mac(run_folder, state_folder)
    if sys.platform == "win32":
        from vigilnet.traffic.backends.windows_io import Windows

        return Windows(run_folder, state_folder, sys.executable)
    raise EnvironmentRefusedError(f"device: no backend for {sys.platform}; use the SOCKS proxy")


def _has_nftables() -> bool:
    """Whether the program is there and the kernel understands it."""
    try:
        commands_io.run(["nft", "list", "tables"])
    except EnvironmentRefusedError:
        return False
    return True
