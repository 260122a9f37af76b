"""Where a node's control socket is, and how it is reached although such paths are short."""

import os
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import platformdirs

from vigilnet.base.errors import ConfigurationError
from vigilnet.surface.control.door import FILE_NAME
from vigilnet.surface.control.schema import SOCKET_NAME

if sys.platform != "win32":
    import pwd

HAS_UNIX_SOCKETS: Final = sys.platform != "win32"  # Python has none on Windows
MAX_PATH: Final = 100  # octets; the system takes 107 on Linux, 103 elsewhere
STATE_VARIABLE: Final = "VIGILNET_NODE_STATE_FOLDER"


def default_state_folder() -> Path:
    """Where a node keeps its state unless told otherwise."""
    return platformdirs.user_data_path("vigilnet", appauthor=False)


def state_folder(
    given: Path | None = None, config: Path | None = None, environment: Mapping[str, str] = os.environ
) -> Path:
    """Return the state folder of the node that is meant: argument, environment, file, default, in this order.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    if given is not None:
        return given
    if environment.get(STATE_VARIABLE):
        return Path(environment[STATE_VARIABLE])
    named = _named_in(config) if config is not None else ""
    return Path(named) if named else _usual_folder()


if sys.platform == "win32":

    def sudo_user() -> str | None:
        """Return nobody: an administrator there is the person."""
        return None

else:

    def sudo_user() -> pwd.struct_passwd | None:
        """Return the person behind sudo, if there is one."""
        number = os.environ.get("SUDO_UID", "")
        if os.geteuid() != 0 or not number.isdecimal() or int(number) == 0:
            return None
        try:
            return pwd.getpwuid(int(number))
        except KeyError:
            return None


def _usual_folder() -> Path:
    """Return where the node is that a command means; under sudo that is first of all the person's own."""
    person = sudo_user()
    if sys.platform == "win32" or person is None:
        return default_state_folder()
    theirs = Path(person.pw_dir) / ".local" / "share" / "vigilnet"
    is_roots = socket_of(default_state_folder()).exists() and not socket_of(theirs).exists()
    return default_state_folder() if is_roots else theirs


def _named_in(config: Path) -> str:
    try:
        with config.open("rb") as file:
            node = tomllib.load(file).get("node")
    except OSError as error:
        raise ConfigurationError(f"{config}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{config}: not a valid TOML file; see `vigilnet run` for the line"
        ) from error
    return str(node.get("state_folder", "")) if isinstance(node, dict) else ""


@contextmanager
def reachable(path: Path) -> Iterator[str]:
    """Give a name of `path` that is short enough for bind and connect, valid within the `with` block."""
    text = str(path)
    if sys.platform != "linux" or len(os.fsencode(text)) <= MAX_PATH:
        yield text
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def socket_of(folder: Path) -> Path:
    """Return the control socket's path in a state folder; on Windows, of the file that tells the port."""
    return folder / (SOCKET_NAME if HAS_UNIX_SOCKETS else FILE_NAME)
