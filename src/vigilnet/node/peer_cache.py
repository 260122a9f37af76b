"""Known peers between two runs: at most 24 h old (docs/spec/discovery.md section 4)."""

import asyncio
from typing import Final

from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.base.safelog import get_logger
from vigilnet.base.store_io import Store
from vigilnet.peer.state_io import load_view, save_view
from vigilnet.peer.view import PeerView

FIRST_SAVE_S: Final = 30.0
SAVE_S: Final = 600.0

_log = get_logger(__name__)


def load_cache(store: Store, view: PeerView, wall: float, cache_s: float) -> None:
    """Fill the table from the last run; records that are older than `cache_s` are not used."""
    load_view(store, view, wall)
    view.forget_unheard(wall - cache_s if cache_s else float("inf"))


def save_cache(store: Store, view: PeerView) -> None:
    """Write the table; a full disk costs only the cache."""
    try:
        save_view(store, view)
    except EnvironmentRefusedError as error:
        _log.warning("known peers could not be saved", reason=str(error))


async def keep_cache(store: Store, view: PeerView) -> None:
    """Write the table now and then, so that a crash does not cost all of it; ends by being cancelled."""
    saved, wait = view.version, FIRST_SAVE_S
    while True:
        await asyncio.sleep(wait)
        if view.version != saved:
            saved, wait = view.version, SAVE_S
            save_cache(store, view)
