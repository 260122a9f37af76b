"""What an observer makes of a ClientHello: JA4, and every field with the drawn values taken out.

For the capture of templates and for tests that compare our hellos with browsers'; no connection needs it.
JA4 as published by FoxIO: version, server name, counts, ALPN; sorted suites; sorted extensions with
signature algorithms. It does not see order, lengths or GREASE: `normalised` does.
"""

import hashlib
from collections.abc import Iterable, Sequence

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.transport.htx.client_hello import X25519, X25519MLKEM768, ClientHello, is_grease
from vigilnet.traffic.transport.htx.templates import GREASE, Extension, Template
from vigilnet.traffic.transport.htx.wire import ExtensionType, Reader

_VERSIONS = {0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10"}
_LISTS = {
    ExtensionType.SUPPORTED_GROUPS: 2,
    ExtensionType.SIGNATURE_ALGORITHMS: 2,
    ExtensionType.SUPPORTED_VERSIONS: 1,
}


def _numbers(hello: ClientHello, kind: ExtensionType) -> tuple[int, ...]:
    data = hello.extension(kind)
    if data is None:
        return ()
    reader = Reader(data, kind.name.lower())
    numbers = reader.numbers(_LISTS[kind])
    reader.end()
    return numbers


def _plain(numbers: Iterable[int]) -> list[int]:
    return [number for number in numbers if not is_grease(number)]


def _marked(numbers: Iterable[int]) -> tuple[int, ...]:
    return tuple(GREASE if is_grease(number) else number for number in numbers)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def ja4(hello: ClientHello) -> str:
    """Return the JA4 fingerprint of a hello over TCP."""
    suites = _plain(hello.suites)
    kinds = _plain(kind for kind, _ in hello.extensions)
    versions = _plain(_numbers(hello, ExtensionType.SUPPORTED_VERSIONS)) or [0x0303]
    alpn = hello.extension(ExtensionType.ALPN) or b""
    name = alpn[3 : 3 + alpn[2]].decode("latin-1") if len(alpn) > 3 else ""
    head = "".join((
        "t", _VERSIONS.get(max(versions), "00"), "d" if ExtensionType.SERVER_NAME in kinds else "i",
        f"{min(99, len(suites)):02}{min(99, len(kinds)):02}", name[0] + name[-1] if name else "00",
    ))  # fmt: skip
    hashed = sorted(kind for kind in kinds if kind not in (ExtensionType.SERVER_NAME, ExtensionType.ALPN))
    algorithms = _plain(_numbers(hello, ExtensionType.SIGNATURE_ALGORITHMS))
    tail = ",".join(f"{kind:04x}" for kind in hashed)
    if algorithms:
        tail += "_" + ",".join(f"{algorithm:04x}" for algorithm in algorithms)
    return f"{head}_{_digest(','.join(f'{suite:04x}' for suite in sorted(suites)))}_{_digest(tail)}"


def template_from(hellos: Sequence[tuple[int, ClientHello]], **about: object) -> Template:
    """Make a template from captured hellos of one program, (record version, hello) each.

    Lists of ECH sizes and suites are those that were seen, so several hellos are wanted; the order is
    called permuted when it differs between them.

    Raises:
        RemoteProtocolError: the hellos differ in what no law here explains; `about` are the other fields.
    """
    version, first = hellos[0]
    shapes = [_shape(hello) for _, hello in hellos]
    if any(shape != shapes[0] for shape in shapes) or len({seen for seen, _ in hellos}) > 1:
        raise RemoteProtocolError("captured hellos: they differ beyond GREASE, order and ech")
    orders = {_marked(kind for kind, _ in hello.extensions) for _, hello in hellos}
    shares = first.key_shares
    plain, hybrid = shares.get(X25519, b"-"), shares.get(X25519MLKEM768, b"")
    return Template(
        record_version=version,
        is_shuffled=len(orders) > 1,
        shares_x25519=hybrid.endswith(plain),
        suites=_marked(first.suites),
        compressions=first.compressions,
        extensions=tuple(
            _describe(first, kind, data, [hello for _, hello in hellos]) for kind, data in first.extensions
        ),
        **about,  # type: ignore[arg-type]
    )


def _describe(hello: ClientHello, kind: int, data: bytes, hellos: Sequence[ClientHello]) -> Extension:
    if is_grease(kind):
        return Extension(GREASE, data)
    if kind in (ExtensionType.SERVER_NAME, ExtensionType.PADDING):
        return Extension(kind)
    if kind in _LISTS:
        return Extension(kind, numbers=_marked(_numbers(hello, ExtensionType(kind))))
    if kind == ExtensionType.KEY_SHARE:
        return Extension(kind, numbers=_marked(hello.key_shares))
    if kind == ExtensionType.ECH:
        seen = [_ech(other.extension(kind) or b"") for other in hellos]
        payloads, suites = sorted({size for size, _ in seen}), sorted({suite for _, suite in seen})
        return Extension(kind, payloads=tuple(payloads), suites=tuple(suites))
    return Extension(kind, data)


def _ech(data: bytes) -> tuple[int, tuple[int, int]]:
    reader = Reader(data, "ech")
    kind, kdf, aead = reader.number(1), reader.number(2), reader.number(2)
    reader.number(1)
    key = reader.vector(2)
    payload = reader.vector(2)
    reader.end()
    if kind != 0 or len(key) != 32:
        raise RemoteProtocolError(f"ech: of type {kind} with a key of {len(key)} octets")
    return len(payload), (kdf, aead)


def _shape(hello: ClientHello) -> dict[str, object]:
    fixed: dict[int, object] = {}
    for kind, data in hello.extensions:
        if kind == ExtensionType.SERVER_NAME:
            fixed[kind] = "name"
        elif kind == ExtensionType.PADDING:
            fixed[kind] = any(data)
        elif kind in _LISTS:
            fixed[kind] = _marked(_numbers(hello, ExtensionType(kind)))
        elif kind == ExtensionType.KEY_SHARE:
            groups = hello.key_shares.items()
            fixed[kind] = [(GREASE if is_grease(group) else group, len(share)) for group, share in groups]
        elif kind == ExtensionType.ECH:
            fixed[kind] = "ech"
        elif not is_grease(kind):
            fixed[kind] = data
    greases = [data for kind, data in hello.extensions if is_grease(kind)]
    return {
        "suites": _marked(hello.suites),
        "compressions": hello.compressions,
        "session id": len(hello.session_id),
        "extensions": fixed,
        "grease extensions": greases,
    }


def normalised(hello: ClientHello, template: Template) -> dict[str, object]:
    """Return every field that two hellos of one browser share, for a field-by-field comparison.

    Drawn values are replaced by whether they obey the law: GREASE by its mark, the order of extensions by
    whether it is one that the browser may use, key shares by their sizes and reuse, ECH by its law.
    """
    shape = _shape(hello)
    kinds = _marked(kind for kind, _ in hello.extensions)
    order = tuple(extension.kind for extension in template.extensions)
    if template.is_shuffled:
        ends = (kinds[0] == order[0]) and (kinds[-1] == order[-1])
        shape["order"] = ends and sorted(kinds) == sorted(order)
    else:
        shape["order"] = kinds
    shares = hello.key_shares
    shape["reuse"] = shares.get(X25519MLKEM768, b"").endswith(shares.get(X25519, b"-"))
    groups = [number for number in _numbers(hello, ExtensionType.SUPPORTED_GROUPS) if is_grease(number)]
    shape["grease share"] = groups == [group for group in shares if is_grease(group)]
    shape["ja4"] = ja4(hello)
    ech, law = hello.extension(ExtensionType.ECH), template.extension(ExtensionType.ECH)
    if ech is not None and law is not None:
        size, suite = _ech(ech)
        shape["ech law"] = size in law.payloads and suite in law.suites
    padding = hello.extension(ExtensionType.PADDING)
    shape["length"] = len(hello.encode()) if padding is not None else None
    return shape
