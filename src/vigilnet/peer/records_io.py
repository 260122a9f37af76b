"""A folder of `NAME.record` files: the plainest way for nodes to know each other.

Each file is one raw record. Nodes that share the folder (a testnet, a lab, a synchronised folder)
publish their own and take in the others'; changes are noticed by looking, at most once per interval.
A bad file is reported by its name and never stops anything.
"""

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from vigilnet.base.errors import EnvironmentRefusedError, LocalProtocolError
from vigilnet.base.store_io import write_file
from vigilnet.base.system_io import NOT_WAITING, OPEN_PRIVATELY
from vigilnet.peer.descriptor import MAX_RECORD_SIZE
from vigilnet.peer.sources import Source
from vigilnet.peer.view import PeerView, Verdict

SUFFIX: Final = ".record"
POLL_S: Final = 1.0
MAX_FILES: Final = 8192
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class FoundRecord:
    """The content of a file that is new or has changed."""

    name: str  # without the suffix
    encoded: bytes


@dataclass
class Scan:
    """What changed since the scan before."""

    found: list[FoundRecord] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)  # name and reason


class RecordFolder:
    """One folder of record files.

    Args:
        path: the folder; made when we publish.
        interval_s: how long to wait between two looks.
    """

    def __init__(self, path: Path, interval_s: float = POLL_S) -> None:
        self.path = path
        self._interval_s = interval_s
        self._next_scan = float("-inf")
        self._seen: dict[str, tuple[int, int, int]] = {}  # name to inode, size and time of change
        self._source = Source("folder of records", is_limited=False, name="files")

    def publish(self, name: str, encoded: bytes) -> None:
        """Put our record in the place of the one before.

        Raises:
            EnvironmentRefusedError: the folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EnvironmentRefusedError(
                f"records folder {self.path}: {error.strerror}, check rights"
            ) from error
        write_file(self._file(name), encoded, 0o644)

    def withdraw(self, name: str) -> None:
        """Remove our record; nothing happens if there is none."""
        self._file(name).unlink(missing_ok=True)

    def deadline(self) -> float:
        """Return when the next `scan` looks at the folder."""
        return self._next_scan

    def scan(self, now: float) -> Scan:
        """Return what is new, changed, gone or bad since the last scan; empty before `deadline`."""
        if now < self._next_scan:
            return Scan()
        self._next_scan = now + self._interval_s
        scan = Scan()
        current: dict[str, tuple[int, int, int]] = {}
        for file in self._files(scan):
            name = file.name.removesuffix(SUFFIX)
            try:
                found = file.lstat()
                current[name] = (found.st_ino, found.st_size, found.st_mtime_ns)
                if self._seen.get(name) != current[name]:
                    scan.found.append(FoundRecord(name, _read(file)))
            except FileNotFoundError:
                current.pop(name, None)
            except (OSError, EnvironmentRefusedError) as error:
                text = error.strerror if isinstance(error, OSError) else str(error)
                scan.bad.append((name, text or "cannot be read"))
        scan.removed = sorted(self._seen.keys() - current.keys())
        self._seen = current
        return scan

    def offer_changes(self, view: PeerView, wall: float, now: float) -> list[tuple[str, Verdict]]:
        """Scan, and offer what is new to `view`; returns each file's name and verdict, bad files left out."""
        return [
            (found.name, view.offer(found.encoded, self._source, wall, now)) for found in self.scan(now).found
        ]

    def _files(self, scan: Scan) -> list[Path]:
        try:
            files = sorted(
                file
                for file in self.path.iterdir()
                if file.name.endswith(SUFFIX) and not file.name.startswith(".")
            )
        except FileNotFoundError:
            return []
        except OSError as error:
            scan.bad.append((str(self.path), error.strerror or "cannot be read"))
            return []
        if len(files) > MAX_FILES:
            scan.bad.append((str(self.path), f"{len(files)} files, only the first {MAX_FILES} are read"))
        return files[:MAX_FILES]

    def _file(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise LocalProtocolError(f"record file: no such name as {name!r}")
        return self.path / f"{name}{SUFFIX}"


def _read(file: Path) -> bytes:
    handle = os.open(file, os.O_RDONLY | OPEN_PRIVATELY | NOT_WAITING)  # a pipe must not stop us
    with os.fdopen(handle, "rb") as opened:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise EnvironmentRefusedError("not a file")
        content = opened.read(MAX_RECORD_SIZE + 1)
    if len(content) > MAX_RECORD_SIZE:
        raise EnvironmentRefusedError(f"over {MAX_RECORD_SIZE} octets")
    return content
