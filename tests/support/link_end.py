"""One end of a real link as a process: `python -m tests.support.link_end relay|client HOST PORT`.

The relay listens and echoes every run. The client keeps a link to it and sends a cell every 50 ms. Both
print a line for what happens: `listening`, `open`, `closed`, and the client `echo` for the first answer on
each link.
"""

import asyncio
import os
import sys

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.support.links import TCP, FakeAddress, FakeLocal, FakeRecord, ListSource, make_frame
from vigilnet.base.clock import SystemClock
from vigilnet.traffic.cell import CELL_SIZE, RUN_AT, new_frame
from vigilnet.traffic.link.options import Options
from vigilnet.traffic.link.ports import LinkPort
from vigilnet.traffic.link.service import LinkService
from vigilnet.traffic.transport.tcp_io import TcpTransport

RELAY = FakeLocal(b"relay".ljust(32), X25519PrivateKey.from_private_bytes(b"r" * 32))


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


class End:
    """A RunReceiver that tells what happens, and echoes if it is the relay's."""

    def __init__(self, port: LinkPort, *, echoes: bool) -> None:
        self.port = port
        self._echoes = echoes
        self._heard = False
        say("open")

    def run_received(self, buffer: memoryview, at: int, cells: int) -> None:
        if self._echoes:
            frame = new_frame(cells)
            frame[RUN_AT : RUN_AT + CELL_SIZE * cells] = buffer[at : at + CELL_SIZE * cells]
            self.port.activate(ListSource(frame))
        elif not self._heard:
            self._heard = True
            say("echo")

    def link_closed(self) -> None:
        say("closed")


async def main(role: str, host: str, port: int) -> None:
    address = FakeAddress(TCP, host, port)
    record = FakeRecord(RELAY.identity, RELAY.public.link_key, (address,))
    service = LinkService(
        Options(allow_private_addresses=True),
        SystemClock(),
        {TCP: TcpTransport()},
        {RELAY.identity: record},
        local=RELAY if role == "relay" else None,
        admit=lambda encoded, host: FakeRecord.admit(encoded),
        network="",
        random_bytes=os.urandom,
    )
    service.on_link = lambda link: End(link, echoes=role == "relay")
    if role == "relay":
        await service.listen(host, port)
        say("listening")
        await asyncio.Event().wait()
    service.keep(RELAY.identity)
    while True:
        await asyncio.sleep(0.05)
        if (link := service.get(RELAY.identity)) is not None:
            link.activate(ListSource(make_frame()))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
