import itertools
import os
from collections import Counter

import pytest

from tests.support.entropy_rule import is_blocked
from tests.support.hellos import NAMES, captured, template_of
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.transport.htx.client_hello import (
    SECP256R1,
    X25519,
    X25519MLKEM768,
    decode_client_hello,
    is_grease,
)
from vigilnet.traffic.transport.htx.fingerprint import normalised
from vigilnet.traffic.transport.htx.hello import build, build_retry
from vigilnet.traffic.transport.htx.wire import encode_record

NAME = "www.example.test"


@pytest.mark.parametrize("name", NAMES)
def test_our_hello_equals_the_real_one_field_by_field(name: str) -> None:
    template = template_of(name)
    for version, real in captured(name):
        wanted = normalised(real, template)
        assert version == template.record_version
        for _ in range(30):
            built = build(template, real.server_name or "", os.urandom, os.urandom(32))
            assert normalised(decode_client_hello(built.hello.encode()), template) == wanted


def test_grease_is_drawn_as_chromium_does() -> None:
    template = template_of("chromium")
    seen = Counter[int]()
    for _ in range(400):
        hello = build(template, NAME, os.urandom).hello
        ends = [hello.extensions[0][0], hello.extensions[-1][0]]
        assert all(map(is_grease, ends))
        assert ends[0] != ends[1]
        seen[hello.suites[0]] += 1
    assert len(seen) == 16
    assert max(seen.values()) < 60


def test_every_extension_comes_everywhere_when_shuffled() -> None:
    template = template_of("chromium")
    places: dict[int, set[int]] = {}
    for _ in range(600):
        for at, (kind, _) in enumerate(build(template, NAME, os.urandom).hello.extensions[1:-1]):
            places.setdefault(kind, set()).add(at)
    assert len(places) == 17
    assert all(len(found) == 17 for found in places.values())


def test_pretended_ech_has_every_size_of_the_law() -> None:
    law = {176 + 10: 0, 186 + 32: 0, 250: 0, 282: 0}
    for _ in range(100):
        law[len(build(template_of("chromium"), NAME, os.urandom).hello.extension(0xFE0D) or b"")] += 1
    assert all(law.values())
    assert len(law) == 4


def test_nothing_is_the_same_in_two_hellos() -> None:
    first, second = (build(template_of("firefox"), NAME, os.urandom).hello for _ in range(2))
    assert first.random != second.random
    for group in (X25519, X25519MLKEM768, SECP256R1):
        assert first.key_shares[group] != second.key_shares[group]


def test_key_shares_are_reused_as_the_browser_does() -> None:
    for name, is_reused in (("chromium", False), ("firefox", True), ("safari", False)):
        shares = build(template_of(name), NAME, os.urandom).hello.key_shares
        assert (shares[X25519MLKEM768][-32:] == shares[X25519]) == is_reused


@pytest.mark.parametrize("size", [1, 16, 63, 180, 253])
def test_openssl_pads_to_512_octets_and_only_up_to_there(size: int) -> None:
    host = ("a" * 62 + ".") * 4
    hello = build(template_of("curl"), host[-size:].lstrip(".").ljust(size, "a"), os.urandom).hello
    message = hello.encode()
    if hello.extension(21) is None:
        assert len(message) >= 512
    else:
        assert len(message) == 512 or len(hello.extension(21) or b"") == 1
    assert len({len(message), 512}) <= 2


def test_a_second_hello_changes_the_share_and_nothing_else() -> None:
    first = build(template_of("chromium"), NAME, os.urandom, os.urandom(32))
    second = build_retry(first, SECP256R1, b"cookie")
    assert second.hello.random == first.hello.random
    assert second.hello.session_id == first.hello.session_id
    assert list(second.hello.key_shares) == [SECP256R1]
    assert second.keys.curve is not None
    kinds = [kind for kind, _ in second.hello.extensions if kind != 44]
    assert kinds == [kind for kind, _ in first.hello.extensions]
    same = [pair for pair in first.hello.extensions if pair[0] != 51]
    assert [pair for pair in second.hello.extensions if pair[0] not in (44, 51)] == same


@pytest.mark.parametrize(("group", "cookie"), [(X25519, b""), (0x1234, b""), (None, b"")])
def test_a_retry_that_no_server_may_ask_is_refused(group: int | None, cookie: bytes) -> None:
    first = build(template_of("chromium"), NAME, os.urandom)
    with pytest.raises(RemoteProtocolError):
        build_retry(first, group, cookie)


def test_all_octets_that_should_be_random_come_from_the_source() -> None:
    drawn = itertools.count()

    def source(size: int) -> bytes:
        return bytes((next(drawn) * 7 + at) % 256 for at in range(size))

    template = template_of("curl")
    first = build(template, NAME, source)
    drawn = itertools.count()
    assert build(template, NAME, source).hello == first.hello


def test_no_first_packet_is_caught_by_the_entropy_rule_and_random_ones_are() -> None:
    templates = [template_of(name) for name in NAMES]
    hellos = [build(templates[at % 5], NAME, os.urandom, os.urandom(32)).hello.encode() for at in range(1000)]
    assert not sum(is_blocked(encode_record(22, hello, 0x0301)[:1460]) for hello in hellos)
    assert sum(is_blocked(b"\0" + os.urandom(400)) for _ in range(1000)) >= 990
