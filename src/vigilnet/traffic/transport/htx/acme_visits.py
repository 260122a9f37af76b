"""Knowing a certificate authority that looks for a proof by its hello (RFC 8737 section 3; sans-IO)."""

from dataclasses import dataclass
from typing import Final

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.transport.htx.client_hello import decode_client_hello
from vigilnet.traffic.transport.htx.wire import MAX_HELLO, RECORD_HEAD, ExtensionType, RecordType

ACME_ALPN: Final = b"acme-tls/1"
_ONLY_ACME: Final = b"\0\x0b\x0a" + ACME_ALPN  # the extension's data


@dataclass
class Diversion:
    """Where visits of a certificate authority go while it looks for a proof of ours."""

    port: int | None = None  # on 127.0.0.1


def is_acme_visit(data: bytes) -> bool | None:
    """Whether these first octets are an authority's whole hello, in one record.

    None: they may become one. A hello with a post-quantum share takes two segments; a web server waits for
    the whole record as well, so whoever looks does not see that these are held back.
    """
    if data[0] != RecordType.HANDSHAKE:
        return False
    if len(data) < RECORD_HEAD:
        return None
    end = RECORD_HEAD + int.from_bytes(data[3:RECORD_HEAD])
    if data[1] != 3 or not RECORD_HEAD < end <= RECORD_HEAD + MAX_HELLO or len(data) > end:
        return False
    if len(data) < end:
        return None
    try:
        return decode_client_hello(data[RECORD_HEAD:]).extension(ExtensionType.ALPN) == _ONLY_ACME
    except RemoteProtocolError:
        return False
