"""Where an HTTP/1 body ends (sans-IO; docs/spec/ingress.md section 3; RFC 9112 sections 6 and 7).

Bodies pass unaltered, chunk lines and trailers included; these readers only count. Chunk lines are
read strictly, since a chunk that two parsers see end in different places smuggles a request.
"""

import re
from enum import Enum
from typing import Final, Protocol

from vigilnet.traffic.ingress.http_head import HttpError

# Our choice.
MAX_CHUNK_LINE: Final = 256
MAX_TRAILERS: Final = 8 * 1024

_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER: Final = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*)?")


class BodyReader(Protocol):
    """Finds the end of one body."""

    @property
    def is_complete(self) -> bool:
        """Whether the whole body was seen."""
        ...

    def take(self, data: memoryview) -> int:
        """Return how many octets at the start of `data` belong to the body.

        Raises:
            HttpError: malformed framing (400).
        """
        ...


class LengthBody:
    """A body of a known length; 0 for none."""

    def __init__(self, length: int) -> None:
        self._left = length

    @property
    def is_complete(self) -> bool:
        """Whether the whole body was seen."""
        return self._left == 0

    def take(self, data: memoryview) -> int:
        """Return how many octets at the start of `data` belong to the body."""
        taken = min(self._left, len(data))
        self._left -= taken
        return taken


class UntilCloseBody:
    """A response body that ends with the connection."""

    is_complete: Final = False

    def take(self, data: memoryview) -> int:
        """Return how many octets at the start of `data` belong to the body: all."""
        return len(data)


class _Part(Enum):
    SIZE = "chunk size"
    DATA = "chunk data"
    DATA_END = "end of chunk"
    TRAILER = "trailer"
    DONE = "done"


class ChunkedBody:
    """A chunked body, its last chunk and trailers included."""

    def __init__(self) -> None:
        self._part = _Part.SIZE
        self._left = 0
        self._line = bytearray()
        self._trailers = 0

    @property
    def is_complete(self) -> bool:
        """Whether the whole body was seen."""
        return self._part is _Part.DONE

    def take(self, data: memoryview) -> int:
        """Return how many octets at the start of `data` belong to the body.

        Raises:
            HttpError: malformed framing (400).
        """
        at = 0
        while at < len(data) and self._part is not _Part.DONE:
            if self._part is _Part.DATA:
                taken = min(self._left, len(data) - at)
                self._left -= taken
                at += taken
                if not self._left:
                    self._part = _Part.DATA_END
            else:
                at += self._take_line(data[at:])
        return at

    def _take_line(self, data: memoryview) -> int:
        piece = bytes(data[: MAX_CHUNK_LINE + MAX_TRAILERS])
        end = piece.find(b"\n")
        piece = piece if end < 0 else piece[: end + 1]
        self._line += piece
        if len(self._line) > (MAX_TRAILERS if self._part is _Part.TRAILER else MAX_CHUNK_LINE):
            raise HttpError(400, f"{self._part.value}: line too long")
        if end >= 0:
            if self._line[-2:] != b"\r\n":
                raise HttpError(400, f"{self._part.value}: bare line feed")
            line = bytes(self._line[:-2])
            self._line.clear()
            self._end_line(line)
        return len(piece)

    def _end_line(self, line: bytes) -> None:
        if self._part is _Part.DATA_END:
            if line:
                raise HttpError(400, "chunk longer than its size")
            self._part = _Part.SIZE
        elif self._part is _Part.SIZE:
            found = _CHUNK_LINE.fullmatch(line)
            if found is None:
                raise HttpError(400, "malformed chunk size")
            self._left = int(found[1], 16)
            self._part = _Part.DATA if self._left else _Part.TRAILER
        else:
            self._end_trailer(line)

    def _end_trailer(self, line: bytes) -> None:
        self._trailers += len(line) + 2
        if self._trailers > MAX_TRAILERS or not _TRAILER.fullmatch(line):
            raise HttpError(400, "malformed or too long trailers")
        if not line:
            self._part = _Part.DONE
