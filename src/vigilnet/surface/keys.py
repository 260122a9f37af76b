"""`vigilnet keys`: the identity key of a node, made, shown, imported and exported.

A program of its own that `vigilnet keys` becomes, since it needs the peer room. Key files are libp2p's
protobuf of an Ed25519 private key, as other programs of that family read and write them.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from vigilnet.base.errors import (
    ConfigurationError,
    EnvironmentRefusedError,
    RemoteProtocolError,
    VigilnetError,
)
from vigilnet.base.store_io import Store
from vigilnet.base.system_io import OPEN_PRIVATELY
from vigilnet.peer.identity import Identity
from vigilnet.peer.state_io import KEYS, load_key_ring
from vigilnet.surface.cli.output import write, write_json
from vigilnet.surface.control.client import ControlClient, NotRunningError
from vigilnet.surface.control.socket_path import state_folder
from vigilnet.surface.exits import ExitCode, OneLineParser, run_guarded
from vigilnet.surface.passphrase import new_passphrase, passphrase_from
from vigilnet.surface.process_guard import forbid_core_dumps

MAX_KEY_FILE: Final = 1024


def new_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = OneLineParser(prog="vigilnet keys", description="The identity key of a node.")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, action, text in (
        ("show", show, "show the peer id of the node, or of a key file"),
        ("generate", generate, "make a new identity for the node, or into a key file"),
        ("import", import_key, "take the node's identity from a key file"),
        ("export", export_key, "write the node's identity to a key file; keep that file secret"),
    ):
        command = actions.add_parser(name, help=text, description=text)
        is_optional = name in ("show", "generate")
        command.add_argument(
            "file", type=Path, nargs="?" if is_optional else None, metavar="FILE", help="key file"
        )
        _add_common_arguments(command)
        command.set_defaults(action=action)
    text = "seal the node's state under a passphrase, or change the one it has"
    command = actions.add_parser("protect", help=text, description=text)
    command.add_argument(
        "--new-passphrase-file", type=Path, metavar="FILE", help="its first line (else asked for)"
    )
    _add_common_arguments(command)
    command.set_defaults(action=protect, file=None)
    return parser


def _add_common_arguments(command: argparse.ArgumentParser) -> None:
    argument = command.add_argument
    argument("--state-folder", type=Path, metavar="DIR", help="the node's state folder")
    argument("--config", type=Path, metavar="FILE", help="read the state folder from this file")
    argument(
        "--passphrase-file", type=Path, metavar="FILE", help="passphrase of a sealed folder (else asked for)"
    )
    argument("--json", action="store_true", help="JSON for programs")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one action; return the exit code."""
    arguments = new_parser().parse_args(argv)
    forbid_core_dumps()
    return run_guarded("vigilnet", lambda: arguments.action(arguments))


def show(arguments: argparse.Namespace) -> ExitCode:
    """Show a peer id."""
    if arguments.file is not None:
        return _tell(arguments, _read_key(arguments.file).peer_id)
    folder = _folder(arguments)
    try:
        with ControlClient(folder) as control:
            peer_id = control.status().peer_id
    except NotRunningError:
        peer_id = _stored(arguments).peer_id
    if not peer_id:
        raise ConfigurationError(f"state folder {folder}: the node is a client and has no identity")
    return _tell(arguments, peer_id)


def generate(arguments: argparse.Namespace) -> ExitCode:
    """Make a new identity."""
    if arguments.file is None:
        return _tell(arguments, _store(arguments, None).peer_id)
    identity = Identity.generate()
    _write_key(arguments.file, identity)
    return _tell(arguments, identity.peer_id)


def import_key(arguments: argparse.Namespace) -> ExitCode:
    """Take the identity from a key file into the state folder."""
    return _tell(arguments, _store(arguments, _read_key(arguments.file)).peer_id)


def export_key(arguments: argparse.Namespace) -> ExitCode:
    """Write the identity to a key file."""
    identity = _stored(arguments)
    _write_key(arguments.file, identity)
    return _tell(arguments, identity.peer_id)


def protect(arguments: argparse.Namespace) -> ExitCode:
    """Seal the state folder under a new passphrase."""
    store = _open(arguments)
    try:
        store.set_passphrase(new_passphrase(arguments.new_passphrase_file))
    finally:
        store.close()
    if arguments.json:
        write_json({"sealed": True})
    else:
        write("sealed: the passphrase is asked for at every start; without it all is lost")
    return ExitCode.OK


def _folder(arguments: argparse.Namespace) -> Path:
    return state_folder(arguments.state_folder, arguments.config)


def _tell(arguments: argparse.Namespace, peer_id: str) -> ExitCode:
    if arguments.json:
        write_json({"peer_id": peer_id, "file": str(arguments.file) if arguments.file else None})
    else:
        write(peer_id)
    return ExitCode.OK


def _open(arguments: argparse.Namespace) -> Store:
    store = Store(_folder(arguments))
    store.lock()
    try:
        store.unlock(passphrase_from(arguments.passphrase_file) if store.is_sealed else None)
    except VigilnetError:
        store.close()
        raise
    return store


def _stored(arguments: argparse.Namespace) -> Identity:
    """The identity in the state folder; nothing is made where there is none."""
    folder = _folder(arguments)
    missing = ConfigurationError(
        f"state folder {folder}: holds no identity; make one: vigilnet keys generate"
    )
    if not folder.is_dir():
        raise missing
    store = _open(arguments)
    try:
        if store.read(KEYS) is None:
            raise missing
        return load_key_ring(store, time.time(), os.urandom).identity  # noqa: TID251 a command, not a machine
    finally:
        store.close()


def _store(arguments: argparse.Namespace, identity: Identity | None) -> Identity:
    """Put an identity (a new one if None) into a state folder that has none."""
    store = _open(arguments)
    try:
        if store.read(KEYS) is not None:
            raise VigilnetError(
                f"state folder {store.folder}: holds an identity already, which is never overwritten",
                EnvironmentRefusedError.kind,
            )
        return load_key_ring(store, time.time(), os.urandom, identity=identity).identity  # noqa: TID251
    finally:
        store.close()


def _read_key(path: Path) -> Identity:
    with path.open("rb") as file:
        content = file.read(MAX_KEY_FILE + 1)
    try:
        return Identity.from_libp2p_protobuf(content)
    except RemoteProtocolError as error:
        raise ConfigurationError(f"key file {path}: {error}") from error


def _write_key(path: Path, identity: Identity) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | OPEN_PRIVATELY, 0o600)
    except FileExistsError as error:
        raise VigilnetError(
            f"key file {path}: exists already and is not overwritten", EnvironmentRefusedError.kind
        ) from error
    with os.fdopen(handle, "wb") as file:
        file.write(identity.to_libp2p_protobuf())


if __name__ == "__main__":
    sys.exit(main())
