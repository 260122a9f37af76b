"""Probes of a port that claims to be a web server, and what one sees of the answers."""

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tests.support.hellos import captured, template_of
from tests.support.htx import SECRET
from tests.support.origins import HOST
from vigilnet.traffic.transport.htx.authenticator import Stamp, seal_session_id
from vigilnet.traffic.transport.htx.hello import build
from vigilnet.traffic.transport.htx.wire import encode_record

PATIENCE_S = 15  # nginx here gives a client 1 s
HASTE = "client_header_timeout 1s; keepalive_timeout 1s;"  # of nginx: silence ends after 1 s


@dataclass(frozen=True)
class Outcome:
    """What a prober can tell apart, but for the time."""

    records: tuple[
        tuple[int, int], ...
    ]  # type and length of each TLS record, or (0, octets) of anything else
    end: str


def shape(data: bytes) -> tuple[tuple[int, int], ...]:
    found: list[tuple[int, int]] = []
    while len(data) >= 5 and data[0] in range(20, 24) and data[1] == 3:
        length = int.from_bytes(data[3:5], "big")
        found.append((data[0], length))
        data = data[5 + length :]
    return (*found, *([(0, len(data))] if data else []))


def hello_record(*, authentic: bool = False, late: float = 0.0, name: str = "chromium") -> bytes:
    built = build(template_of(name), HOST, os.urandom, None if authentic else os.urandom(32))
    if authentic:
        shared = built.keys.authenticating.exchange(SECRET.public_key())
        stamp = Stamp(int(time.time() - late), bytes(8)).encode()
        sealed = seal_session_id(shared, built.hello.random, built.hello.encode(), stamp)
        built = built.with_session_id(sealed)
    return encode_record(22, built.hello.encode(), 0x0301)


def tampered() -> bytes:
    record = bytearray(hello_record(authentic=True))
    record[5 + 39 + 3] ^= 1
    return bytes(record)


def without_name() -> bytes:
    _, hello = captured("firefox")[0]
    bare = replace(hello, extensions=tuple(e for e in hello.extensions if e[0] != 0))
    return encode_record(22, bare.encode(), 0x0301)


def halves(record: bytes) -> list[bytes]:
    body = record[5:]
    return [encode_record(22, body[:700], 0x0301), encode_record(22, body[700:], 0x0301)]


RAW: dict[str, tuple[Callable[[], list[bytes]], bool]] = {  # pieces, and whether FIN follows
    "random 8": (lambda: [b"\xc8" + os.urandom(7)], False),
    "random 300": (lambda: [b"\xf3" + os.urandom(300)], False),
    "plain http": (lambda: [b"GET / HTTP/1.0\r\n\r\n"], False),
    "half a hello, fin": (lambda: [hello_record()[:200]], True),
    "one octet at a time": (lambda: [hello_record(name="curl")[at : at + 1] for at in range(40)], False),
    "hello, then silence": (lambda: [hello_record()], False),
    "hello and garbage": (lambda: [hello_record() + os.urandom(300)], False),
    "silence": (list, False),
    "fin at once": (list, True),
    "bad record length": (lambda: [b"\x16\3\1\xff\xff" + os.urandom(50)], False),
    "sslv2": (lambda: [b"\x80\x2e\1\0\2" + os.urandom(40)], False),
    "tampered authenticator": (lambda: [tampered()], False),
    "authentic, then garbage": (
        lambda: [hello_record(authentic=True), encode_record(23, os.urandom(99))],
        False,
    ),
    "authentic, then fin": (lambda: [hello_record(authentic=True)], True),
    "authentic, then five records": (
        lambda: [
            hello_record(authentic=True),
            encode_record(20, b"\1") + encode_record(23, os.urandom(64)) * 5,
        ],
        False,
    ),
    "stale": (lambda: [hello_record(authentic=True, late=100)], False),
    "oversize record": (lambda: [hello_record(), b"\x17\3\3\x48\1" + bytes(0x4801)], False),
    "alert": (lambda: [encode_record(21, b"\1\0")], False),
    "hello in two records": (lambda: halves(hello_record()), False),
    "no server name": (lambda: [without_name()], False),
    "application data first": (lambda: [encode_record(23, os.urandom(100))], False),
}


async def probe(port: int, pieces: list[bytes], *, fin: bool) -> tuple[Outcome, float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    started = time.perf_counter()
    data, end = b"", "open"
    with contextlib.suppress(ConnectionError):
        for at, piece in enumerate(pieces):
            if at:
                await asyncio.sleep(0.004)
            writer.write(piece)
        if fin:
            writer.write_eof()
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                got = await reader.read(65_536)
                if not got:
                    end = "fin"
                    break
                data += got
    except TimeoutError:
        pass
    except ConnectionResetError:
        end = "rst"
    took = time.perf_counter() - started
    writer.transport.abort()
    return Outcome(shape(data), end), took


@dataclass
class Seen:
    """All outcomes of one kind of probe at one port."""

    outcomes: Counter[Outcome]
    times: list[float]


async def probe_all(ports: Sequence[int], probes: list[list[bytes]], *, fin: bool) -> list[Seen]:
    """Send the same probes to all ports by turns; many at once only where the server waits long.

    The first one is not counted.
    """
    seen = [Seen(Counter(), []) for _ in ports]
    _, took = await probe(ports[0], probes[0], fin=fin)
    gate = asyncio.Semaphore(40 if took > 0.5 else 1)

    async def one(which: int, pieces: list[bytes]) -> None:
        async with gate:
            outcome, took = await probe(ports[which], pieces, fin=fin)
        seen[which].outcomes[outcome] += 1
        seen[which].times.append(took)

    await asyncio.gather(*(one(which, pieces) for pieces in probes[1:] for which in range(len(ports))))
    return seen
