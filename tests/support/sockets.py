"""What a process has open, by the system's own lists."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LISTENS, IS_OPEN = "0A", "01"  # states in /proc/net/tcp


@dataclass(frozen=True)
class TcpSocket:
    """One line of the list."""

    port: int
    remote_port: int
    state: str


def descriptors(pid: int) -> set[str]:
    """What each descriptor of a process leads to."""
    found = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found.add(str(path.readlink()))
    return found


def tcp_sockets(pid: int) -> list[TcpSocket]:
    """The TCP sockets of a process."""
    ours, found = descriptors(pid), []
    for family in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{family}").read_text().splitlines()[1:]:
            fields = line.split()
            if f"socket:[{fields[9]}]" in ours:
                port, remote_port = (int(field.rpartition(":")[2], 16) for field in fields[1:3])
                found.append(TcpSocket(port, remote_port, fields[3]))
    return found
