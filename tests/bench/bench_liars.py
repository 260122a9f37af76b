"""What one answer of a malicious directory costs a client: `python -m tests.bench.bench_liars [--dry]`.

Processor time of the longest answers that a client reads, of each kind that could cost it most. The peer
table and the fetcher are the product's, the clock is virtual.
"""

import argparse
import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator

from tests.bench.discovery_page import update
from tests.support.gossip_network import chance
from tests.support.records import RecordMaker
from tests.support.virtual_loop import VirtualClock, VirtualLoop, run
from vigilnet.base.errors import VigilnetError
from vigilnet.peer.descriptor import DAY_S, PeerRecord
from vigilnet.peer.sources import Source
from vigilnet.peer.view import PeerView
from vigilnet.routing.discovery.directory import MAX_ANSWER, AnswerReader
from vigilnet.routing.discovery.fetch_io import Fetcher
from vigilnet.routing.discovery.wire import Item, ItemType, encode_frame, encode_proof, pack_items

CELL = 1000  # octets that arrive at once
MANY = 16_384
MADE = 256  # different ones; the others repeat them


class Client:
    """A client's table, with the records that it knows."""

    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self.clock = VirtualClock(self.loop)
        self.wall = int(self.clock.wall())
        self.view = PeerView(work_bits=0)

    def know(self, records: list[PeerRecord]) -> None:
        """Take records as the user gives them."""
        for record in records:
            self.view.offer(record.encoded, Source("user", is_limited=False), self.wall, self.clock.now())

    def reads(self, answer: bytes) -> float:
        """Read an answer; return the seconds of processor time that it took."""
        started = time.process_time()
        run(self._read(answer), self.loop)
        return time.process_time() - started

    async def _read(self, answer: bytes) -> None:
        async def nobody() -> None:
            await asyncio.sleep(0)

        fetcher = Fetcher(nobody, self.view, lambda: True, self.clock, chance("liars"))  # type: ignore[arg-type]
        reader, items = AnswerReader(), deque[Item]()
        try:
            for at in range(0, len(answer), CELL):
                items.extend(reader.feed(answer[at : at + CELL]))
            await fetcher._offer_all(items, Source("liar"))
        except VigilnetError:
            pass
        await fetcher.close()


def answer_of(items: Iterator[Item] | list[Item]) -> bytes:
    """As many as a client reads."""
    return b"".join(map(encode_frame, pack_items(items)))[:MAX_ANSWER]


def expired(client: Client) -> bytes:
    """Records in order, of three days ago."""
    made = [RecordMaker(f"e{n}").record(client.wall - 3 * DAY_S) for n in range(MADE)]
    return answer_of([Item(ItemType.RECORD, made[n % MADE].encoded) for n in range(MANY)])


def stale(client: Client) -> bytes:
    """Records in order, older than those that the client has."""
    makers = [RecordMaker(f"s{n}") for n in range(MADE)]
    client.know([maker.record(client.wall) for maker in makers])
    old = [maker.record(client.wall - 3600) for maker in makers]
    return answer_of([Item(ItemType.RECORD, old[n % MADE].encoded) for n in range(MANY)])


def proven(client: Client) -> bytes:
    """Proofs that the client has."""
    items = []
    for number in range(MADE):
        maker = RecordMaker(f"p{number}")
        pair = maker.record(client.wall), maker.record(client.wall + 1, variant="other")
        client.know(list(pair))
        items.append(Item(ItemType.PROOF, encode_proof(pair[0].encoded, pair[1].encoded)))
    return answer_of([items[n % MADE] for n in range(MANY)])


def unknown(client: Client) -> bytes:
    """Items of three octets, of a type that the client does not know."""
    del client
    frame = b"\x04" + (3 * 256).to_bytes(2, "big") + b"\x63\0\0" * 256
    return frame * (MAX_ANSWER // len(frame))


def new(client: Client) -> bytes:
    """A whole network of good records, as an honest one gives it, with no work asked."""
    made = [RecordMaker(f"n{n}").record(client.wall) for n in range(8192)]
    return answer_of([Item(ItemType.RECORD, record.encoded) for record in made])


KINDS: dict[str, Callable[[Client], bytes]] = {
    "expired records": expired,
    "records older than ours": stale,
    "known proofs of equivocation": proven,
    "items of unknown types": unknown,
    "8192 good records (honest)": new,
}


def main() -> None:
    """Measure each and write it down."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dry", action="store_true")
    is_dry = parser.parse_args().dry
    found = []
    for name, make in KINDS.items():
        client = Client()
        answer = make(client)
        found.append({"kind": name, "octets": len(answer), "cpu_s": round(client.reads(answer), 2)})
        print(found[-1], flush=True)
    if not is_dry:
        update("liars", found)


if __name__ == "__main__":
    main()
