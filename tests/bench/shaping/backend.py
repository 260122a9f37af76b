"""What is behind the sites' nginx: calls with answers of any size, uploads, a WebSocket. A process."""

import asyncio
import base64
import contextlib
import hashlib
import os
import random
from urllib.parse import parse_qs, urlsplit

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


async def head(reader: asyncio.StreamReader) -> tuple[str, str, dict[str, str]]:
    """Read a request's head."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = lines[0].split(" ", 2)
    fields = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
    return method, target, {name.lower(): value for name, value in fields.items()}


def answer(writer: asyncio.StreamWriter, body: bytes) -> None:
    """Send an answer; chunked, as many programs do."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
    writer.write(b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n")


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            method, target, fields = await head(reader)
            parts = urlsplit(target)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            if parts.path == "/ws":
                await websocket(reader, writer, fields["sec-websocket-key"], int(query.get("r", "2")))
                break
            if method == "POST":
                body = await reader.readexactly(int(fields.get("content-length", "0")))
                await asyncio.sleep(random.uniform(0.002, 0.05))
                answer(writer, b'{"ok": %d}' % len(body))
            else:
                await asyncio.sleep(int(query.get("d", "1")) / 1000)
                answer(writer, os.urandom(int(query.get("n", "100"))))
            await writer.drain()
            if fields.get("connection", "").lower() == "close":
                break
    writer.close()


def frame(opcode: int, body: bytes) -> bytes:
    """A WebSocket frame of a server."""
    size = len(body)
    length = bytes((size,)) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
    return bytes((0x80 | opcode,)) + length + body


async def websocket(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str, rate: int) -> None:
    """Echo most messages at once, and push some of our own."""
    accept = base64.b64encode(hashlib.sha1(key.encode() + GUID).digest())  # noqa: S324  # RFC 6455
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )

    async def push() -> None:
        while True:
            await asyncio.sleep(random.expovariate(rate / 3))
            writer.write(frame(2, os.urandom(int(min(6000, random.lognormvariate(4.3, 1.2))))))

    async with asyncio.TaskGroup() as tasks:
        pushing = tasks.create_task(push())
        try:
            while True:
                opcode, length = await reader.readexactly(2)
                length &= 0x7F
                if length == 126:
                    length = int.from_bytes(await reader.readexactly(2), "big")
                await reader.readexactly(4)
                body = await reader.readexactly(length)
                if opcode & 15 == 8:
                    return
                more = b"k" * random.randint(5, 900) if random.random() > 0.7 else b""
                writer.write(frame(1, body[:50] + more))
        finally:
            pushing.cancel()


async def main() -> None:
    """Serve until killed."""
    server = await asyncio.start_server(serve, "127.0.0.1", 8000, limit=1 << 20)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
