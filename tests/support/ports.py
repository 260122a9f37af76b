"""Ports of this machine for programs that must be told one, and ports where nobody is.

What `bind(0)` gives is of the range out of which every connection of this machine takes its own port: between
close and use another test's connection may take it, and one who dials it may even meet himself. These ports
are below that range of Linux, macOS and Windows, each is given once, and workers of pytest-xdist have
ranges of their own.
"""

import itertools
import os
import secrets
import socket
from collections.abc import Iterator
from typing import Final

FIRST: Final = 11_000
RANGE: Final = 2_000  # ports of a worker
WORKERS: Final = 10  # that share nothing: up to 31,000; the kernel's begin at 32,768 (Linux) and 49,152


def _ports(worker: int) -> Iterator[int]:
    begin = secrets.randbelow(RANGE)
    for offset in itertools.count(begin):
        yield FIRST + worker % WORKERS * RANGE + offset % RANGE


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("", port))
            except OSError:
                return False
    return True


_of_this_process: Final = _ports(int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]))


def free_port() -> int:
    """Return a port that nobody has, of TCP or UDP, and that nobody is given by chance."""
    return next(port for port in itertools.islice(_of_this_process, RANGE) if _is_free(port))
