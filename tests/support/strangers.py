"""Whoever sends what he likes to a directory over HTTP, and what that leaves in it."""

import contextlib
import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.support.helper_nodes import HelperNode
from tests.support.operators import Relay
from vigilnet.peer.address import PeerAddress
from vigilnet.routing.operators.wire import encode_registration, sign_registration
from vigilnet.surface.control.client import ControlClient

NETWORK = "operators"
REGISTER = "/api/relay/register"
DAY = 86_400
SENDERS = 8


class Stranger(Relay):
    """A relay at this machine's address that says what it likes."""

    def __init__(self, name: str, network: str = NETWORK) -> None:
        super().__init__(name, "127.0.0.1", network)

    def says(
        self,
        published: float | None = None,
        signed: float | None = None,
    ) -> dict[str, Any]:
        """A registration; published and signed are now unless told."""
        at = int(published or time.time())
        record = self.maker.record(at, addresses=[PeerAddress.tcp(self.host, 4001)])
        return encode_registration(
            sign_registration(self.maker.identity, record, signed or time.time(), self.network)
        )


def resident(node: HelperNode) -> int:
    """Memory of the daemon."""
    with ControlClient(node.folder) as control:
        pid = control.status().pid
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def rows(node: HelperNode) -> int:
    """How many relays the directory remembers."""
    return int(node.ask("/api/relays/prune")[1]["total_peers"])


class Junk:
    """Registrations that are refused: of another network, expired, forged, malformed."""

    def __init__(self, node: HelperNode) -> None:
        host, _, port = node.ready["status"].rpartition(":")
        self._host, self._port = host, int(port)
        self._bodies = [
            json.dumps(body).encode()
            for number in range(50)
            for body in (
                Stranger(f"far {number}", "elsewhere").says(),
                Stranger(f"late {number}").says(published=time.time() - 3 * DAY),
                Stranger(f"thief {number}").says() | {"peer_id": Stranger(f"new {number}").peer_id},
                {"peer_id": "x" * 60, "number": number},
            )
        ]

    def send(self, count: int) -> "Counter[int]":
        """Send so many; return how often each status came back, each with a JSON error."""
        with ThreadPoolExecutor(SENDERS) as senders:
            return Counter(senders.map(self._send, range(count)))

    def _send(self, number: int) -> int:
        connection = HTTPConnection(self._host, self._port, timeout=60)
        with contextlib.closing(connection):
            connection.request("POST", REGISTER, self._bodies[number % len(self._bodies)])
            answer = connection.getresponse()
            assert "error" in json.loads(answer.read())
            return answer.status
