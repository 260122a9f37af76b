"""Our guards on disk: a client that forgot them would pick new ones at each start, and show itself to all."""

from typing import Final

from vigilnet.base.codec import Value, decode, encode
from vigilnet.base.errors import EnvironmentRefusedError, RemoteProtocolError
from vigilnet.base.safelog import get_logger
from vigilnet.base.store_io import Store
from vigilnet.peer.wire import read_array, read_octets, read_uint
from vigilnet.routing.paths.selection import Guards

GUARDS: Final = "guards"
MAX_KEPT: Final = 64

_log = get_logger(__name__)


def load_guards(store: Store) -> Guards:
    """Return the guards of the last run; none if there are none or the file is damaged."""
    content = store.read(GUARDS)
    if content is None:
        return Guards()
    try:
        kept, left = read_array(decode(content, "guards"), "guards", 2, 2)
        guards = Guards([read_octets(item, "guard", 32) for item in read_array(kept, "guards", 0, MAX_KEPT)])
        for entry in read_array(left, "left guards", 0, MAX_KEPT):
            identity, wall = read_array(entry, "left guard", 2, 2)
            guards.left[read_octets(identity, "guard", 32)] = float(read_uint(wall, "time"))
    except RemoteProtocolError as error:
        _log.warning("guards on disk cannot be used, choosing new ones", reason=str(error))
        return Guards()
    return guards


def save_guards(store: Store, guards: Guards) -> None:
    """Write the guards; a full disk costs only their memory."""
    try:
        left: list[Value] = [
            [identity, int(wall)] for identity, wall in list(guards.left.items())[-MAX_KEPT:]
        ]
        store.write_atomic(GUARDS, encode([list(guards.kept[:MAX_KEPT]), left]))
    except EnvironmentRefusedError as error:
        _log.warning("guards could not be saved", reason=str(error))
