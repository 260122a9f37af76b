"""State on disk: one folder of ours alone, whole files or none, one instance at a time.

The folder has mode 0700, its files 0600; on Windows an access list names the user, the system and the
administrators. A write goes to a new file that is flushed and then put in the place of the old one: after a
crash there is the old content or the new. With a passphrase every file is sealed (ChaCha20-Poly1305 under a
key per name) under a random master key, which is itself sealed under the passphrase (Argon2id); so changing
the passphrase rewrites one file, and destroying that file destroys all. The layouts are in docs/spec/peer.md
section 7.

Calls wait for the disk: services make them beside the event loop where that matters.
"""

import contextlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from vigilnet.base import system_io
from vigilnet.base.errors import ConfigurationError, EnvironmentRefusedError, LocalProtocolError
from vigilnet.base.system_io import NOT_BY_LINK, NOT_WAITING, OPEN_PRIVATELY, flush_folder

MAX_FILE_SIZE: Final = 64 << 20  # our choice
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")  # with a dot: other rooms' tables, tokens and logs
_LOCK: Final = "vigilnet.lock"  # marks the folder as ours, too
SEAL_NAME: Final = "passphrase"  # there in a sealed folder
_HEADER: Final = SEAL_NAME
_PARTIAL: Final = ".partial-"

_SEALED: Final = b"VIGILNET SEALED 1\n"
_SALT_SIZE: Final = 16
_NONCE_SIZE: Final = 12
_KEY_SIZE: Final = 32
_TAG_SIZE: Final = 16
_HEADER_SIZE: Final = len(_SEALED) + _SALT_SIZE + _NONCE_SIZE + 1 + _KEY_SIZE + _TAG_SIZE
_KDF_MEMORY_KIB: Final = 64 << 10
_KDF_PASSES: Final = 3


class Store:
    """The state folder of one node.

    Use: make it, `lock` it, then `unlock` it if it may have a passphrase; `close` at the end.

    Args:
        folder: where; made if it is missing.

    Raises:
        EnvironmentRefusedError: the folder cannot be made or used, belongs to another user, or holds
            other things than our state: `wipe` and the change of mode must never hit a home folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: int | None = None
        self._master: bytes | None = None
        self._is_half_sealed = False
        with _refused(f"state folder {folder}"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not (folder / _LOCK).exists() and any(folder.iterdir()):
                raise EnvironmentRefusedError(
                    f"state folder {folder}: holds other files, choose an empty folder"
                )
            if not system_io.take_folder(folder):
                raise EnvironmentRefusedError(
                    f"state folder {folder}: of another user, choose another folder"
                )
            (folder / _LOCK).touch(0o600)

    def lock(self) -> None:
        """Take the folder for this process; the system frees it when the process ends, however it ends.

        Raises:
            EnvironmentRefusedError: another process has it; the message names the process.
        """
        if self._lock is not None:
            return
        path = self.folder / _LOCK
        with _refused(f"state folder {self.folder}"):
            handle = os.open(path, os.O_RDWR | os.O_CREAT | OPEN_PRIVATELY | NOT_BY_LINK, 0o600)
        try:
            system_io.take_lock(handle)
        except OSError as error:
            owner = os.read(handle, 20).decode("ascii", "replace").strip() or "unknown"
            os.close(handle)
            raise EnvironmentRefusedError(
                f"state folder {self.folder}: in use by process {owner}, stop it or choose another folder"
            ) from error
        os.ftruncate(handle, 0)
        os.write(handle, b"%d\n" % os.getpid())
        self._lock = handle
        for partial in self.folder.glob(f"{_PARTIAL}*"):  # of a write that a crash cut off
            _clear_away(partial)

    def close(self) -> None:
        """Give the folder up; safe to call twice."""
        self._master = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def is_sealed(self) -> bool:
        """Whether the folder has a passphrase."""
        return (self.folder / _HEADER).exists()

    def unlock(self, passphrase: str | None) -> None:
        """Open a folder that has a passphrase; does nothing if it has none and none is given.

        Raises:
            ConfigurationError: wrong, missing or needless passphrase.
        """
        if not self.is_sealed:
            if passphrase is not None:
                raise ConfigurationError(f"state folder {self.folder}: has no passphrase yet, set one first")
            return
        if passphrase is None:
            raise ConfigurationError(f"state folder {self.folder}: is sealed, a passphrase is needed")
        header = self._read_raw(_HEADER) or b""
        if len(header) != _HEADER_SIZE or not header.startswith(_SEALED):
            raise EnvironmentRefusedError(
                f"state folder {self.folder}: file {_HEADER} is damaged, restore a copy"
            )
        at = len(_SEALED)
        salt, nonce = header[at : at + _SALT_SIZE], header[at + _SALT_SIZE : at + _SALT_SIZE + _NONCE_SIZE]
        try:
            opened = ChaCha20Poly1305(_stretch(passphrase, salt)).decrypt(nonce, header[-49:], _SEALED)
        except InvalidTag as error:
            raise ConfigurationError(f"state folder {self.folder}: wrong passphrase") from error
        self._is_half_sealed, self._master = opened[:1] == b"\1", opened[1:]
        if self._is_half_sealed:
            self._seal_all(passphrase)

    def set_passphrase(self, passphrase: str) -> None:
        """Seal the folder under a passphrase, or change the one it has (`unlock` first).

        A crash on the way loses nothing: the rest is sealed at the next `unlock`. What was in the files
        until now is overwritten; older versions of them, and flash, may keep it (docs/spec/peer.md 7).
        """
        if not passphrase:
            raise ConfigurationError("passphrase: empty")
        if self._master is not None:
            self._write_header(passphrase, half_sealed=False)
            return
        if self.is_sealed:
            raise LocalProtocolError("state folder: change of passphrase before unlock")
        self._master = secrets.token_bytes(_KEY_SIZE)
        self._is_half_sealed = True
        self._write_header(passphrase, half_sealed=True)
        self._seal_all(passphrase)

    def write_atomic(self, name: str, content: bytes) -> None:
        """Put `content` in the place of the file `name`, wholly or not at all.

        Raises:
            EnvironmentRefusedError: the disk is full or refuses; the old content is still there.
        """
        self._check(name)
        write_file(self.folder / name, self._sealed(name, content))

    def read(self, name: str) -> bytes | None:
        """Return the content of the file `name`, or None if there is none.

        Raises:
            EnvironmentRefusedError: it cannot be read, or its seal is broken.
        """
        self._check(name)
        raw = self._read_raw(name)
        if raw is None or (self._master is None and not raw.startswith(_SEALED)):
            return raw
        if not raw.startswith(_SEALED) and self._is_half_sealed:
            return raw
        return self._opened(name, raw)

    def names(self) -> list[str]:
        """Return the names of all files of state, sorted."""
        with _refused(f"state folder {self.folder}"):
            found = [path.name for path in self.folder.iterdir() if path.is_file() and not path.is_symlink()]
        return sorted(name for name in found if _NAME.fullmatch(name) and name not in (_LOCK, _HEADER))

    def remove(self, name: str) -> None:
        """Overwrite and remove the file `name`; nothing happens if there is none."""
        self._check(name)
        with _refused(f"state file {name}"):
            _destroy(self.folder / name)
            flush_folder(self.folder)

    def wipe(self) -> int:
        """Destroy all state, the sealed master key first; returns how many files there were.

        Overwriting reaches the old octets on simple disks only: flash and copying file systems keep
        some. A passphrase set from the start is what protects there, since its file goes first.
        """
        self._master = None
        count = 0
        with _refused(f"state folder {self.folder}"):
            _destroy(self.folder / _HEADER)
            flush_folder(self.folder)
            for path in sorted(self.folder.rglob("*"), reverse=True):
                if path.is_dir() and not path.is_symlink():
                    path.rmdir()
                elif path.name != _LOCK or path.parent != self.folder:
                    _destroy(path)
                    count += 1
            flush_folder(self.folder)
        return count

    def _check(self, name: str) -> None:
        if not _NAME.fullmatch(name) or name in (_LOCK, _HEADER):
            raise LocalProtocolError(f"state file: no such name as {name!r}")
        if self._master is None and self.is_sealed:
            raise LocalProtocolError("state folder: used before unlock")

    def _read_raw(self, name: str) -> bytes | None:
        with _refused(f"state file {self.folder / name}"):
            try:
                handle = os.open(self.folder / name, os.O_RDONLY | OPEN_PRIVATELY | NOT_BY_LINK)
            except FileNotFoundError:
                return None
            with os.fdopen(handle, "rb") as file:
                content = file.read(MAX_FILE_SIZE + 1)
        if len(content) > MAX_FILE_SIZE:
            raise EnvironmentRefusedError(f"state file {name}: over {MAX_FILE_SIZE} octets")
        return content

    def _sealed(self, name: str, content: bytes) -> bytes:
        if self._master is None:
            return content
        nonce = secrets.token_bytes(_NONCE_SIZE)
        return _SEALED + nonce + self._cipher(name).encrypt(nonce, content, _SEALED)

    def _opened(self, name: str, raw: bytes) -> bytes:
        nonce, body = raw[len(_SEALED) : len(_SEALED) + _NONCE_SIZE], raw[len(_SEALED) + _NONCE_SIZE :]
        broken = EnvironmentRefusedError(
            f"state file {name}: its seal is broken, restore a copy or remove it"
        )
        if self._master is None or not raw.startswith(_SEALED) or len(nonce) != _NONCE_SIZE:
            raise broken
        try:
            return self._cipher(name).decrypt(nonce, body, _SEALED)
        except InvalidTag as error:
            raise broken from error

    def _cipher(self, name: str) -> ChaCha20Poly1305:
        key = HKDF(SHA256(), _KEY_SIZE, salt=None, info=b"vigilnet state file\0" + name.encode())
        return ChaCha20Poly1305(key.derive(self._master or b""))

    def _seal_all(self, passphrase: str) -> None:
        for name in self.names():
            content = self.read(name)
            if content is not None:
                with _old_destroyed(self.folder / name):
                    self.write_atomic(name, content)
        self._is_half_sealed = False
        self._write_header(passphrase, half_sealed=False)

    def _write_header(self, passphrase: str, *, half_sealed: bool) -> None:
        salt, nonce = secrets.token_bytes(_SALT_SIZE), secrets.token_bytes(_NONCE_SIZE)
        content = (b"\1" if half_sealed else b"\0") + (self._master or b"")
        sealed = ChaCha20Poly1305(_stretch(passphrase, salt)).encrypt(nonce, content, _SEALED)
        write_file(self.folder / _HEADER, _SEALED + salt + nonce + sealed)


def write_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Put `content` in the place of the file at `path`, wholly or not at all, flushed to the disk.

    Raises:
        EnvironmentRefusedError: the disk is full or refuses; what was at `path` is still there.
    """
    partial = path.with_name(f"{_PARTIAL}{secrets.token_hex(8)}")
    with _refused(f"file {path}"):
        try:
            handle = os.open(
                partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | OPEN_PRIVATELY | NOT_BY_LINK, 0o600
            )
            with os.fdopen(handle, "wb") as file:
                system_io.set_mode(handle, mode)
                file.write(content)
                file.flush()
                os.fsync(handle)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        flush_folder(path.parent)


@contextmanager
def _old_destroyed(path: Path) -> Iterator[None]:
    """Overwrite what is at `path` now, once something else has taken its place there.

    It is kept by a second name meanwhile: a crash leaves the file whole, and `lock` finds the name.
    """
    old = path.with_name(f"{_PARTIAL}{secrets.token_hex(8)}")
    try:
        old.hardlink_to(path)
    except OSError:  # a file system without second names: what is freed there keeps its octets
        yield
        return
    try:
        yield
    except BaseException:
        old.unlink(missing_ok=True)
        raise
    with _refused(f"file {path}"):
        _destroy(old)


@contextmanager
def _refused(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EnvironmentRefusedError(
            f"{what}: {error.strerror or error}, check rights and room on the disk"
        ) from error


def _stretch(passphrase: str, salt: bytes) -> bytes:
    kdf = Argon2id(salt=salt, length=_KEY_SIZE, iterations=_KDF_PASSES, lanes=1, memory_cost=_KDF_MEMORY_KIB)
    return kdf.derive(passphrase.encode("utf-8", "surrogatepass"))


def _clear_away(partial: Path) -> None:
    """Overwrite and remove what a crash left, unless a file of ours is still that very one."""
    with contextlib.suppress(OSError):
        if partial.lstat().st_nlink == 1:
            _destroy(partial)
    partial.unlink(missing_ok=True)


def _destroy(path: Path) -> None:
    """Overwrite a file once, then unlink it; a link is only unlinked."""
    try:
        handle = os.open(path, os.O_WRONLY | OPEN_PRIVATELY | NOT_BY_LINK | NOT_WAITING)
    except FileNotFoundError:
        return
    except OSError:  # a link, a socket, no right to write: nothing to overwrite, yet to remove
        path.unlink(missing_ok=True)
        return
    with os.fdopen(handle, "wb", buffering=0) as file:
        if stat.S_ISREG(os.fstat(handle).st_mode):
            left = os.fstat(handle).st_size
            while left > 0:
                left -= file.write(secrets.token_bytes(min(left, 1 << 20)))
            os.fsync(handle)
    path.unlink(missing_ok=True)
