"""What vigilnetd asks of the system for itself: no core dumps, no swap, an end with its parent."""

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import Final

# From Linux's headers.
_MCL_CURRENT: Final = 1
_MCL_FUTURE: Final = 2
_MCL_ONFAULT: Final = 4
_PR_SET_PDEATHSIG: Final = 1
_CAP_IPC_LOCK: Final = 14

# From glibc's malloc.h.
_M_TRIM_THRESHOLD: Final = -1
_M_TOP_PAD: Final = -2
_M_MMAP_THRESHOLD: Final = -3
_KEPT_OCTETS: Final = 16 << 20


def forbid_core_dumps() -> None:
    """Let no crash write our memory, and with it keys, to disk.

    The limit alone does not hold for a core that is piped to a program, so the parts of memory that
    go into one are set to none as well.
    """
    if sys.platform == "win32":  # it writes none unless an administrator has asked for them
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        Path("/proc/self/coredump_filter").write_text("0")


def keep_freed_memory() -> None:
    """Let malloc keep a few MiB that were freed, instead of giving them back and asking again.

    Runs of cells are allocated and freed by the batch; without this the heap shrinks and grows with
    each one, and every page is faulted in anew (measured: 3 to 8 % of a relay's CPU time).
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _KEPT_OCTETS)
        mallopt(_M_MMAP_THRESHOLD, _KEPT_OCTETS)
        mallopt(_M_TOP_PAD, 1 << 20)


def lock_memory() -> bool:
    """Keep our memory out of swap, where the system allows that without a limit; say whether it did.

    Under a limit, growth beyond it would fail later at any place, so then nothing is locked. Pages are
    locked as they are first used, which costs no memory.
    """
    if not sys.platform.startswith("linux") or not _may_lock_everything():
        return False
    flags = _MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT
    return bool(ctypes.CDLL(None, use_errno=True).mlockall(flags) == 0)


def _may_lock_everything() -> bool:
    if sys.platform == "win32":
        return False
    import resource

    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY:
        return True
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) >> _CAP_IPC_LOCK & 1)
    return False


def end_with_parent() -> None:
    """Have the system send us SIGTERM when the process that started us ends (Linux).

    Where it cannot, the closed pipe on standard input tells the same.
    """
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it ended just before
        os.kill(os.getpid(), signal.SIGTERM)
