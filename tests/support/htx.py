"""An HTX relay and its clients on loopback, without the rest of a node.

As a program, `python -m tests.support.htx PORT`, it is a relay before the origin at PORT: prints its own
port, ends with its standard input.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.support.origins import HOST, Certificates
from vigilnet.base.clock import Clock, SystemClock
from vigilnet.peer.address import prefix_of
from vigilnet.traffic.transport.carrier import Carrier, CarrierKind
from vigilnet.traffic.transport.htx.authenticator import Authenticator
from vigilnet.traffic.transport.htx.certificates import TrustAnchors
from vigilnet.traffic.transport.htx.dial_io import Browser
from vigilnet.traffic.transport.htx.htx_io import HtxTransport
from vigilnet.traffic.transport.htx.options import Options
from vigilnet.traffic.transport.htx.server_io import HtxListener, Relay
from vigilnet.traffic.transport.htx.templates_io import bundled_templates

SECRET = X25519PrivateKey.from_private_bytes(b"r" * 32)
PARAMS = {0: SECRET.public_key().public_bytes_raw(), 1: HOST, 2: 2}


class ShiftedClock(SystemClock):
    """A wall clock that is wrong."""

    def __init__(self, shift: float) -> None:
        self._shift = shift

    def wall(self) -> float:
        return super().wall() + self._shift


def browser(certificates: Certificates, name: str = "chromium", clock: Clock | None = None) -> Browser:
    """Return how a client dials, with one template."""
    anchors = TrustAnchors.from_pem(certificates.root)
    templates = [template for template in bundled_templates() if template.name == name]
    return Browser(templates, {}, lambda: anchors, clock or SystemClock(), "", os.urandom)


class Peer:
    """A carrier's user that keeps what it gets."""

    def __init__(self, carrier: Carrier) -> None:
        self.carrier = carrier
        self.received = bytearray()
        self.is_closed = False
        self._buffer = memoryview(bytearray(65_536))
        self._news = asyncio.Event()
        carrier.start(self)

    def receive_buffer(self) -> memoryview:
        return self._buffer

    def octets_received(self, count: int) -> None:
        self.received += self._buffer[:count]
        self._news.set()

    def carrier_writable(self) -> None:
        pass

    def carrier_closed(self, error: OSError | None) -> None:
        assert not self.is_closed
        self.is_closed = True
        self._news.set()

    async def wait(self, is_true: Callable[[], bool]) -> None:
        """Wait until something that the peer hears of is true."""
        async with asyncio.timeout(30):
            while not is_true():
                self._news.clear()
                await self._news.wait()

    async def wait_octets(self, count: int) -> bytes:
        """Wait for so many octets; return them."""
        await self.wait(lambda: len(self.received) >= count or self.is_closed)
        taken = bytes(self.received[:count])
        del self.received[:count]
        return taken


@dataclass
class HtxRelay:
    """A listener and what it accepted."""

    listener: HtxListener
    accepted: "asyncio.Queue[Carrier]" = field(default_factory=asyncio.Queue)

    @property
    def port(self) -> int:
        return self.listener.port


@asynccontextmanager
async def htx_relay(
    origin: int,
    *,
    invites: Sequence[bytes] | None = None,
    options: Options | None = None,
    host: str = "127.0.0.1",
) -> AsyncIterator[HtxRelay]:
    """Run a relay at `host` before the origin at this port of 127.0.0.1."""
    relay = Relay(
        authenticator=Authenticator(lambda: (SECRET,), "", None if invites is None else lambda: invites),
        origin=("127.0.0.1", origin),
        kind=CarrierKind.HTX_OWN_SITE,
        options=options or Options(),
        clock=SystemClock(),
        network="",
        random_bytes=os.urandom,
        prefix_of=prefix_of,
    )
    accepted: asyncio.Queue[Carrier] = asyncio.Queue()
    certificates = None
    transport = HtxTransport(certificates, relay)  # type: ignore[arg-type]  # never dials
    listener = await transport.listen(host, 0, accepted.put_nowait)
    try:
        yield HtxRelay(listener, accepted)
    finally:
        listener.close()
        await asyncio.sleep(0)


@contextlib.contextmanager
def relay_process(origin: int) -> Iterator[int]:
    """Run a relay as a process of its own, so that a prober does not slow it; give its port."""
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.htx", str(origin)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=root,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(60)


async def _main(origin: int) -> None:
    async with htx_relay(origin) as relay:
        print(relay.port, flush=True)  # noqa: T201
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    import uvloop

    uvloop.run(_main(int(sys.argv[1])))
