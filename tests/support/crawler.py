"""A stranger who looks into everything that an ordinary relay can look into, for clients.

It walks the DHT with the library itself, whose tables it reads; asks operators' directories; and has a relay
of its own, whose table of peers and whose wire the caller looks at (gossip, mDNS, the beacon, links).
"""

import contextlib
import json
import re
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from typing import Any

from tests.support.netns import Namespace
from tests.support.waiting import pause
from vigilnet.routing.discovery.dht import RELAY_TAG, SHARDS, network_number, tag_key

LISTEN_PORT = 4999
WALK_S = 3.0  # from the last question to a look at the tables: the library's thread must be at rest


class Crawler:
    """Looks from a host.

    Args:
        host: where it is.
        friend: address of a relay in the DHT.
        directories: base URLs of operators.
    """

    def __init__(self, host: Namespace, friend: str, directories: Sequence[str] = ()) -> None:
        self.host = host
        self.friend = friend
        self.directories = directories
        self.texts: list[str] = []
        self.asked = 0

    def browse(self, seconds: float) -> None:
        """Look everywhere, again and again, for so long."""
        until = time.monotonic() + seconds
        with self._dht() as node:
            while time.monotonic() < until:
                self._walk(node)
                self._ask_directories()

    @contextlib.contextmanager
    def _dht(self) -> Iterator[Any]:
        import opendht  # type: ignore[import-untyped]  # it has no types of its own

        config = opendht.DhtConfig()
        config.setNetwork(network_number("netns"))
        node = opendht.DhtRunner()
        with self.host.entered():
            node.run(port=LISTEN_PORT, ipv4=self.host.v4, ipv6="", config=config)
        node.bootstrap(self.friend, "4001")
        try:
            yield node
        finally:
            node.join()

    def _walk(self, node: Any) -> None:  # noqa: ANN401  the library's
        import opendht

        for shard in range(SHARDS):
            ended = threading.Event()

            def done(is_ok: bool, nodes: object, ended: threading.Event = ended) -> None:
                ended.set()

            key = opendht.InfoHash(tag_key(RELAY_TAG, shard, "netns").hex().encode())
            node.get(key, lambda value: True, done)
            ended.wait(2.0)
            self.asked += 1
        pause(WALK_S)
        self.texts += [node.getRoutingTablesLog(2), node.getStorageLog(), node.getSearchesLog(2)]

    def _ask_directories(self) -> None:
        for url in self.directories:
            for path in ("/api/relays/by-country", "/api/operator", "/status", "/metrics"):
                with self.host.entered(), contextlib.suppress(OSError):
                    with urllib.request.urlopen(url + path, timeout=3) as answer:  # noqa: S310  of the lab
                        self.texts.append(json.dumps(json.loads(answer.read())))
                    self.asked += 1

    def addresses(self) -> set[str]:
        """All addresses in what it was told."""
        return {found for text in self.texts for found in re.findall(r"\d+\.\d+\.\d+\.\d+", text)}
