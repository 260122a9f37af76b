"""Saying hello as a browser does (docs/spec/htx.md section 4).

`build` stamps a ClientHello from a template: GREASE, permutation, ECH that only pretends, key shares and
padding by the browser's own laws; `build_retry` answers a HelloRetryRequest.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.traffic.transport.htx.authenticator import SESSION_ID_SIZE
from vigilnet.traffic.transport.htx.client_hello import (
    SECP256R1,
    SECP384R1,
    X25519,
    X25519MLKEM768,
    ClientHello,
    encode_key_shares,
)
from vigilnet.traffic.transport.htx.templates import GREASE, Extension, Template
from vigilnet.traffic.transport.htx.wire import RANDOM_SIZE, ExtensionType

RandomBytes = Callable[[int], bytes]

_CURVES: Final[dict[int, ec.EllipticCurve]] = {SECP256R1: ec.SECP256R1(), SECP384R1: ec.SECP384R1()}
_PADDED_ABOVE, _PADDED_TO = 0xFF, 0x200  # hellos between them hung some servers: both libraries pad


@dataclass(frozen=True)
class ShareKeys:
    """The secrets behind a hello's key shares; each is None where there is no such share."""

    x25519: X25519PrivateKey | None = None
    hybrid: tuple[MLKEM768PrivateKey, X25519PrivateKey] | None = None
    curve: ec.EllipticCurvePrivateKey | None = None

    @property
    def authenticating(self) -> X25519PrivateKey:
        """The key whose public half the relay uses."""
        if self.x25519 is not None:
            return self.x25519
        if self.hybrid is not None:
            return self.hybrid[1]
        raise LocalProtocolError("hello template: neither an x25519 nor a hybrid share")


@dataclass(frozen=True)
class BuiltHello:
    """A ClientHello with what its sender knows."""

    hello: ClientHello
    keys: ShareKeys
    template: Template

    def with_session_id(self, session_id: bytes) -> "BuiltHello":
        """Return a copy with another session id."""
        return replace(self, hello=replace(self.hello, session_id=session_id))


class _GreaseValues:
    """One GREASE value a purpose, drawn as BoringSSL does (RFC 8701): 16 values, all alike likely."""

    def __init__(self, random_bytes: RandomBytes) -> None:
        draws = [(octet & 0xF0 | 0x0A) * 0x0101 for octet in random_bytes(6)]
        self.suite, self.group, self.version, self.algorithm, self.first, self.last = draws
        if self.last == self.first:
            self.last ^= 0x1010

    def fill(self, numbers: Sequence[int], value: int) -> list[int]:
        """Return `numbers` with `value` at the places marked."""
        return [value if number == GREASE else number for number in numbers]


def build(
    template: Template, server_name: str, random_bytes: RandomBytes, session_id: bytes | None = None
) -> BuiltHello:
    """Return a fresh ClientHello to `server_name`; its session id is zero unless given."""
    grease = _GreaseValues(random_bytes)
    keys, shares = _make_shares(template, grease, random_bytes)
    extensions = [
        (kind, _data(extension, grease, shares, server_name, random_bytes))
        for kind, extension in _with_kinds(template.extensions, grease)
    ]
    if template.is_shuffled:
        extensions = _shuffled(extensions, template, random_bytes)
    hello = ClientHello(
        random=random_bytes(RANDOM_SIZE),
        session_id=bytes(SESSION_ID_SIZE) if session_id is None else session_id,
        suites=tuple(grease.fill(template.suites, grease.suite)),
        compressions=template.compressions,
        extensions=tuple(extensions),
    )
    return BuiltHello(_padded(hello), keys, template)


def with_ech(built: BuiltHello, data: bytes) -> BuiltHello:
    """Return a hello with this ECH in place of the one that only pretends, padded anew."""
    return replace(built, hello=_padded(built.hello.with_extension(ExtensionType.ECH, data)))


def build_retry(first: BuiltHello, group: int | None, cookie: bytes) -> BuiltHello:
    """Return the second hello after a HelloRetryRequest (RFC 8446 section 4.1.2).

    All stays as it was but the key share, which is the one asked for alone, and the cookie.

    Raises:
        RemoteProtocolError: a group that was not offered, or whose share was sent already, or no change.
    """
    hello, keys = first.hello, first.keys
    if group is None and not cookie:
        raise RemoteProtocolError("hello retry: asks for no change")
    if group is not None:
        offered = first.template.extension(ExtensionType.SUPPORTED_GROUPS)
        if offered is None or group not in offered.numbers or group in hello.key_shares:
            raise RemoteProtocolError(f"hello retry: group {group} was not offered, or its share was sent")
        keys, share = _make_share(group)
        hello = hello.with_extension(ExtensionType.KEY_SHARE, encode_key_shares({group: share}))
    if cookie:
        hello = _with_cookie(hello, cookie)
    return BuiltHello(_padded(hello), keys, first.template)


def _with_cookie(hello: ClientHello, cookie: bytes) -> ClientHello:
    data = len(cookie).to_bytes(2, "big") + cookie
    at = next(index for index, (kind, _) in enumerate(hello.extensions) if kind == ExtensionType.KEY_SHARE)
    extensions = (*hello.extensions[: at + 1], (int(ExtensionType.COOKIE), data), *hello.extensions[at + 1 :])
    return replace(hello, extensions=extensions)


def _with_kinds(extensions: Sequence[Extension], grease: _GreaseValues) -> list[tuple[int, Extension]]:
    values = iter((grease.first, grease.last))
    return [
        (next(values) if extension.kind == GREASE else extension.kind, extension) for extension in extensions
    ]


def _data(
    extension: Extension,
    grease: _GreaseValues,
    shares: bytes,
    server_name: str,
    random_bytes: RandomBytes,
) -> bytes:
    match extension.kind:
        case ExtensionType.SERVER_NAME:
            name = server_name.encode("ascii")
            return b"".join(((len(name) + 3).to_bytes(2, "big"), b"\0", len(name).to_bytes(2, "big"), name))
        case ExtensionType.SUPPORTED_GROUPS:
            return _u16_list(grease.fill(extension.numbers, grease.group), 2)
        case ExtensionType.SIGNATURE_ALGORITHMS:
            return _u16_list(grease.fill(extension.numbers, grease.algorithm), 2)
        case ExtensionType.SUPPORTED_VERSIONS:
            return _u16_list(grease.fill(extension.numbers, grease.version), 1)
        case ExtensionType.KEY_SHARE:
            return shares
        case ExtensionType.ECH if extension.payloads:
            return _pretended_ech(extension, random_bytes)
        case _:
            return extension.data


def _u16_list(numbers: Sequence[int], length_octets: int) -> bytes:
    data = b"".join(number.to_bytes(2, "big") for number in numbers)
    return len(data).to_bytes(length_octets, "big") + data


def _pretended_ech(extension: Extension, random_bytes: RandomBytes) -> bytes:
    """Return an outer ECH of random octets: u8 0, suite, config id, encapsulated key, payload."""
    draws = random_bytes(3)
    kdf, aead = extension.suites[draws[0] % len(extension.suites)]
    size = extension.payloads[draws[1] % len(extension.payloads)]
    key = X25519PrivateKey.from_private_bytes(random_bytes(32)).public_key().public_bytes_raw()
    return b"".join((
        b"\0", kdf.to_bytes(2, "big"), aead.to_bytes(2, "big"), draws[2:],
        len(key).to_bytes(2, "big"), key, size.to_bytes(2, "big"), random_bytes(size),
    ))  # fmt: skip


def _make_shares(
    template: Template, grease: _GreaseValues, random_bytes: RandomBytes
) -> tuple[ShareKeys, bytes]:
    extension = template.extension(ExtensionType.KEY_SHARE)
    groups = () if extension is None else extension.numbers
    keys = ShareKeys()
    if X25519 in groups:
        keys = replace(keys, x25519=X25519PrivateKey.from_private_bytes(random_bytes(32)))
    shares: dict[int, bytes] = {}
    for group in groups:
        if group == GREASE:
            shares[grease.group] = b"\0"
        elif group == X25519 and keys.x25519 is not None:
            shares[group] = keys.x25519.public_key().public_bytes_raw()
        elif group == X25519MLKEM768:
            own = keys.x25519 if template.shares_x25519 else None
            made, shares[group] = _make_share(group, own)
            keys = replace(keys, hybrid=made.hybrid)
        else:
            made, shares[group] = _make_share(group)
            keys = replace(keys, curve=made.curve)
    return keys, encode_key_shares(shares)


def _make_share(group: int, x25519: X25519PrivateKey | None = None) -> tuple[ShareKeys, bytes]:
    if group == X25519:
        key = X25519PrivateKey.generate()
        return ShareKeys(x25519=key), key.public_key().public_bytes_raw()
    if group == X25519MLKEM768:
        kem, dh = MLKEM768PrivateKey.generate(), x25519 or X25519PrivateKey.generate()
        share = kem.public_key().public_bytes_raw() + dh.public_key().public_bytes_raw()
        return ShareKeys(hybrid=(kem, dh)), share
    if group in _CURVES:
        curve = ec.generate_private_key(_CURVES[group])
        point = curve.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return ShareKeys(curve=curve), point
    raise RemoteProtocolError(f"key share: group {group} is not made here")


def _shuffled(
    extensions: list[tuple[int, bytes]], template: Template, random_bytes: RandomBytes
) -> list[tuple[int, bytes]]:
    """Permute all but the GREASE extensions at both ends, every order alike likely (Fisher-Yates)."""
    first = 1 if template.extensions[0].kind == GREASE else 0
    end = len(extensions) - (1 if template.extensions[-1].kind == GREASE else 0)
    middle = extensions[first:end]
    for index in range(len(middle) - 1, 0, -1):
        other = int.from_bytes(random_bytes(4), "big") % (index + 1)
        middle[index], middle[other] = middle[other], middle[index]
    return [*extensions[:first], *middle, *extensions[end:]]


def _padded(hello: ClientHello) -> ClientHello:
    """Set the padding extension as OpenSSL and BoringSSL do: a message of 256 to 511 octets becomes 512."""
    if hello.extension(ExtensionType.PADDING) is None:
        return hello
    bare = replace(hello, extensions=tuple(e for e in hello.extensions if e[0] != ExtensionType.PADDING))
    size = len(bare.encode())
    if not _PADDED_ABOVE < size < _PADDED_TO:
        return bare
    return hello.with_extension(ExtensionType.PADDING, bytes(max(1, _PADDED_TO - size - 4)))
