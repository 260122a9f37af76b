"""What a test needs of the machine it runs on; each skip says what was missing."""

import functools
import os
import shutil
import subprocess
import sys

import pytest


@functools.cache
def has_root() -> bool:
    """Whether network namespaces can be made here, tried once."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"vn-try-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return made.returncode == 0


def needs_programs(*names: str) -> pytest.MarkDecorator:
    """Mark for tests that run real programs: skipped, with the names, where one is not installed."""
    missing = [name for name in names if shutil.which(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs the program {', '.join(missing)}")
