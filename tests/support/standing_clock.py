"""Clocks of one process as they are after a suspend, while the machine's own go on (standing_clock.c)."""

import struct
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")


class StandingClock:
    """Start processes with `environment`; stop them, and `wake` before they go on.

    Args:
        folder: for the library and the file that tells it how the clocks differ.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self._file.write_bytes(bytes(24))
        library = folder / "standing_clock.so"
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, SOURCE], check=True)
        self.environment = {"LD_PRELOAD": str(library), "STANDING_CLOCK": str(self._file)}

    def wake(self, stood_s: float, slept_s: float, *, wall_s: float) -> None:
        """Have monotonic clocks go on where they stood, and the others be where they are after a long sleep.

        Args:
            stood_s: for how long the processes were really stopped.
            slept_s: for how long CLOCK_BOOTTIME says that the machine slept.
            wall_s: by how much the wall clock went on; other nodes' did not, so it must stay near theirs.
        """
        shifts = (-stood_s, wall_s - stood_s, slept_s - stood_s)
        with self._file.open("r+b") as file:
            file.write(struct.pack("=qqq", *(int(shift * 1e9) for shift in shifts)))
