"""Which backend this machine has: the one place that asks which system it is."""

import sys
from pathlib import Path

from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.traffic.backends.linux_io import Kernel
from vigilnet.traffic.device.backend import Backend


def choose_backend(run_folder: Path, state_folder: Path, group_name: str) -> Backend:
    """Return this machine's backend.

    Args:
        run_folder: where what must be put back is written down; empty after a reboot.
        state_folder: where it is written down that lockdown is on; survives a reboot.
        group_name: of the control groups, unlike those of other instances.

    Raises:
        EnvironmentRefusedError: there is none for this system.
    """
    if sys.platform == "linux":
        return Kernel(run_folder, state_folder, group_name)
    raise EnvironmentRefusedError(f"device: no backend for {sys.platform}; use the SOCKS proxy")
