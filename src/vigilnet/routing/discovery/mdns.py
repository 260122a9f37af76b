"""A record as an mDNS service: its name and TXT strings (sans-IO; docs/spec/discovery.md section 7).

service type   _vigilnet._tcp.local.          instance   the relay's peer id
TXT            r0=<octets 0 to 249 of the record>  r1=<octets 250 to 499>  ...
"""

from collections.abc import Mapping
from typing import Final

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.peer.descriptor import MAX_RECORD_SIZE

SERVICE_TYPE: Final = "_vigilnet._tcp.local."
PIECE_SIZE: Final = 250
MAX_PIECES: Final = -(-MAX_RECORD_SIZE // PIECE_SIZE)  # 5


def record_to_txt(encoded: bytes) -> dict[str, bytes]:
    """Return the TXT strings of a record.

    >>> {key: len(piece) for key, piece in record_to_txt(bytes(600)).items()}
    {'r0': 250, 'r1': 250, 'r2': 100}
    """
    starts = range(0, len(encoded), PIECE_SIZE)
    return {f"r{number}": encoded[at : at + PIECE_SIZE] for number, at in enumerate(starts)}


def record_from_txt(properties: Mapping[bytes, bytes | None]) -> bytes:
    """Return the record in a service's TXT strings; others than ours are passed over.

    Raises:
        RemoteProtocolError: none, or pieces missing or of a wrong size.
    """
    pieces: list[bytes] = []
    while (piece := properties.get(b"r%d" % len(pieces))) is not None:
        if len(pieces) == MAX_PIECES or not 0 < len(piece) <= PIECE_SIZE:
            raise RemoteProtocolError("mdns: too many pieces of a record, or one of a wrong size")
        if pieces and len(pieces[-1]) != PIECE_SIZE:
            raise RemoteProtocolError("mdns: more pieces of a record behind its last")
        pieces.append(piece)
    encoded = b"".join(pieces)
    if not 0 < len(encoded) <= MAX_RECORD_SIZE:
        raise RemoteProtocolError(f"mdns: a record of {len(encoded)} octets, 1 to {MAX_RECORD_SIZE} expected")
    return encoded
