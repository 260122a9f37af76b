"""Our guards on disk: a client that forgot them would pick new ones at each start, and show itself to all."""

from typing import Final

from vigilnet.base.codec import decode, encode
from vigilnet.base.errors import EnvironmentRefusedError, RemoteProtocolError
from vigilnet.base.safelog import get_logger
from vigilnet.base.store_io import Store
from vigilnet.peer.wire import read_array, read_octets
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
        items = read_array(decode(content, "guards"), "guards", 0, MAX_KEPT)
        return Guards([read_octets(item, "guard", 32) for item in items])
    except RemoteProtocolError as error:
        _log.warning("guards on disk cannot be used, choosing new ones", reason=str(error))
        return Guards()


def save_guards(store: Store, guards: Guards) -> None:
    """Write the guards; a full disk costs only their memory."""
    try:
        store.write_atomic(GUARDS, encode(list(guards.kept[:MAX_KEPT])))
    except EnvironmentRefusedError as error:
        _log.warning("guards could not be saved", reason=str(error))
