"""Encrypted client hellos: against Go's TLS, live and recorded, and what goes wrong."""

import asyncio
import base64
import contextlib
import json
import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.ech import fixed_keys, fixed_offer
from tests.support.go_tls import EchOrigin, build, ech_origin, needs_go
from tests.support.hellos import NAMES, template_of
from tests.support.htx import PARAMS, SECRET, HtxRelay, Peer, browser, htx_relay
from tests.support.needs import needs_programs
from tests.support.origins import HOST, Certificates, make_certificates, nginx
from vigilnet.base.errors import ConfigurationError, RemoteProtocolError
from vigilnet.traffic.transport.htx.authenticator import Authenticator, Stamp, seal_session_id
from vigilnet.traffic.transport.htx.client_hello import decode_client_hello, without_ech_payload
from vigilnet.traffic.transport.htx.dial_io import read_params
from vigilnet.traffic.transport.htx.ech import (
    MAX_CONFIGS,
    EchConfig,
    choose,
    decode_configs,
    encrypt_hello,
    is_taken,
)
from vigilnet.traffic.transport.htx.hello import build as build_hello
from vigilnet.traffic.transport.htx.htx_io import HtxTransport
from vigilnet.traffic.transport.htx.key_schedule import SUITES
from vigilnet.traffic.transport.htx.options import Options
from vigilnet.traffic.transport.htx.tls13 import TlsClient, TlsState
from vigilnet.traffic.transport.htx.wire import encode_record

PUBLIC_NAME = "public.example.test"
FOLDER = Path(__file__).parents[4] / "vectors" / "ech"
VECTORS: list[dict[str, str]] = json.loads((FOLDER / "handshakes.json").read_text())["vectors"]
KEY = bytes.fromhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")  # any point
CONTENT = b"\x07\0\x20\0\x20" + KEY + b"\0\x08\0\1\0\1\0\1\0\3\x40\x13" + PUBLIC_NAME.encode() + b"\0\0"


def listed(content: bytes = CONTENT, version: int = 0xFE0D) -> bytes:
    config = version.to_bytes(2) + len(content).to_bytes(2) + content
    return len(config).to_bytes(2) + config


def test_a_config_is_read() -> None:
    (config,) = decode_configs(listed())
    assert config == EchConfig(listed()[2:], 7, KEY, (1, 3), 64, PUBLIC_NAME)


@pytest.mark.parametrize(
    "data",
    [
        listed(version=0xFE0C),
        listed(CONTENT.replace(b"\x07\0\x20\0\x20", b"\x07\0\x10\0\x20")),  # another KEM
        listed(CONTENT.replace(b"\0\x08\0\1\0\1\0\1\0\3", b"\0\x04\0\2\0\1")),  # another KDF
        listed(CONTENT[:-2] + b"\0\4\xff\xff\0\0"),  # a mandatory extension
    ],
)
def test_configs_that_we_cannot_use_are_left_out(data: bytes) -> None:
    assert decode_configs(data) == []
    with pytest.raises(RemoteProtocolError, match="no ech config"):
        read_params({**PARAMS, 4: data})


@pytest.mark.parametrize(
    "data", [b"", b"\0\0", listed()[:-1], listed() + b"x", listed(CONTENT[:-1]), bytes(MAX_CONFIGS + 1)]
)
def test_lists_that_are_none_are_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_configs(data)


@given(st.binary(max_size=120))
def test_any_octets_are_configs_or_blamed(data: bytes) -> None:
    for given_list in (data, listed(data)):
        with contextlib.suppress(RemoteProtocolError):
            decode_configs(given_list)


def test_only_browsers_that_have_ech_use_it() -> None:
    configs = decode_configs(listed())
    able = {name for name in NAMES if choose(configs, template_of(name)) is not None}
    assert able == {"chromium", "firefox"}


def test_the_real_name_is_in_no_octet_and_the_rest_is_a_browsers() -> None:
    (config,) = decode_configs(listed())
    for name in ("chromium", "firefox"):
        template = template_of(name)
        offer = encrypt_hello(template, config, 1, HOST, os.urandom)
        built, inner = offer.sealed(os.urandom(32))
        message = built.hello.encode()
        assert HOST.encode() not in message
        assert built.hello.server_name == PUBLIC_NAME
        assert inner is not None
        assert inner.hello.server_name == HOST
        assert inner.hello.session_id == built.hello.session_id
        assert decode_client_hello(message) == built.hello
        pretended = build_hello(template, PUBLIC_NAME, os.urandom).hello
        assert {kind for kind, _ in built.hello.extensions if kind & 0x0F0F != 0x0A0A} >= {
            kind for kind, _ in pretended.extensions if kind & 0x0F0F != 0x0A0A
        }


def test_names_of_all_lengths_give_payloads_of_one_length() -> None:
    (config,) = decode_configs(listed())
    sizes = {
        len(encrypt_hello(template_of("firefox"), config, 1, "x" * size, os.urandom).outer.hello.encode())
        for size in (1, 20, 64)
    }
    assert len(sizes) == 1


def test_the_relay_knows_its_client_though_the_payload_came_later() -> None:
    (config,) = decode_configs(listed())
    offer = encrypt_hello(template_of("chromium"), config, 1, HOST, os.urandom)
    hello = offer.outer.hello
    shared = offer.outer.keys.authenticating.exchange(SECRET.public_key())
    sealed = seal_session_id(shared, hello.random, hello.encode(), Stamp(10**9, bytes(8)).encode())
    built, _ = offer.sealed(sealed)
    assert Authenticator(lambda: (SECRET,)).judge(built.hello.encode(), 1e9, 0.0) == shared
    other = replace(built.hello, random=bytes(32))
    assert Authenticator(lambda: (SECRET,)).judge(other.encode(), 1e9, 0.0) is None
    assert without_ech_payload(build_hello(template_of("curl"), HOST, os.urandom).hello) is None
    broken = built.hello.with_extension(0xFE0D, b"\0\0\1")
    assert without_ech_payload(broken) is None
    assert without_ech_payload(built.hello.with_extension(0xFE0D, b"\1" + bytes(50))) is None


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["template"] + vector["kind"])
def test_a_server_of_gos_took_our_hello(vector: dict[str, str]) -> None:
    (config,) = decode_configs(bytes.fromhex(vector["configs"]))
    outer, inner = fixed_offer(vector["template"], config)
    assert outer.hello.encode().hex() == vector["outer"]
    said = bytes.fromhex(vector["server"])
    with fixed_keys():
        client = TlsClient(outer, lambda _: None, inner)
        client.receive(said)
    assert client.state is TlsState.OPEN
    assert client.data_received().endswith(b"hello")
    assert client.handshake is not None
    assert client.handshake.was_retried == bool(vector["kind"])
    if not client.handshake.was_retried:
        assert client.handshake.hellos == outer.hello.encode()  # what the relay saw
    assert inner is not None
    other = replace(inner, hello=replace(inner.hello, random=bytes(32)))
    for inside in (None, other):  # sealed under the inner hello's transcript
        with fixed_keys(), pytest.raises(RemoteProtocolError):
            TlsClient(outer, lambda _: None, inside).receive(said)


RETRIES = [vector for vector in VECTORS if vector["kind"]]


def retried(vector: dict[str, str]) -> tuple[TlsClient, bytes, bytes]:
    """Return a client that has said hello, the request for another one, and the server's answer to that."""
    (config,) = decode_configs(bytes.fromhex(vector["configs"]))
    outer, inner = fixed_offer(vector["template"], config)
    client = TlsClient(outer, lambda _: None, inner)
    client.data_to_send()
    said = bytes.fromhex(vector["server"])
    end = 5 + int.from_bytes(said[3:5])
    return client, said[:end], said[end:]


@pytest.mark.parametrize("vector", RETRIES, ids=lambda vector: vector["template"])
def test_a_second_hello_has_the_same_inside_under_the_same_key(vector: dict[str, str]) -> None:
    client, retry, _ = retried(vector)
    first = decode_client_hello(bytes.fromhex(vector["outer"]))
    with fixed_keys():
        client.receive(retry)
    assert not client.has_refused_ech
    flight = client.data_to_send()
    assert flight[:6] == b"\x14\3\3\0\1\1"
    second = decode_client_hello(flight[11:])
    assert list(second.key_shares) == [24]
    assert (second.random, second.session_id, second.suites) == (first.random, first.session_id, first.suites)
    before, now = first.extension(0xFE0D), second.extension(0xFE0D)
    assert before is not None
    assert now is not None
    assert now[:6] == before[:6]  # outer, suite, config
    assert now[6:8] == b"\0\0"  # the key was said
    assert [kind for kind, _ in second.extensions] == [kind for kind, _ in first.extensions]


@pytest.mark.parametrize("vector", RETRIES, ids=lambda vector: vector["template"])
def test_a_retry_that_does_not_confirm_goes_on_with_the_outer_hello(vector: dict[str, str]) -> None:
    client, retry, _ = retried(vector)
    first = decode_client_hello(bytes.fromhex(vector["outer"]))
    at = retry.rindex(b"\xfe\x0d\0\x08") + 4
    with fixed_keys():
        client.receive(retry[:at] + bytes(8) + retry[at + 8 :])
    assert client.has_refused_ech
    second = decode_client_hello(client.data_to_send()[11:])
    assert second.extension(0xFE0D) == first.extension(0xFE0D)
    assert second.server_name == PUBLIC_NAME


@pytest.mark.parametrize("vector", RETRIES, ids=lambda vector: vector["template"])
def test_what_the_retry_took_the_server_hello_cannot_leave(vector: dict[str, str]) -> None:
    client, retry, rest = retried(vector)
    at = rest.index(b"\x16\3\3") + 9 + 2 + 24
    with fixed_keys():
        client.receive(retry)
        with pytest.raises(RemoteProtocolError, match="though the retry did"):
            client.receive(rest[:at] + bytes(8) + rest[at + 8 :])
    assert client.data_to_send()[-2:] == b"\2\x2f"  # illegal_parameter


def test_a_retrys_confirmation_has_eight_octets() -> None:
    client, retry, _ = retried(RETRIES[0])
    at = retry.rindex(b"\xfe\x0d\0\x08")
    message = bytearray(retry[5:at] + b"\xfe\x0d\0\x07" + retry[at + 4 : at + 11])
    message[3] -= 1
    extensions = 4 + 2 + 32 + 33 + 3
    message[extensions : extensions + 2] = (len(message) - extensions - 2).to_bytes(2)
    with pytest.raises(RemoteProtocolError, match="ech of 7 octets"):
        client.receive(encode_record(22, bytes(message)))


def test_nobody_asks_twice_for_another_hello_with_ech() -> None:
    client, retry, _ = retried(RETRIES[0])
    client.receive(retry)
    with pytest.raises(RemoteProtocolError, match="asks twice"):
        client.receive(retry)


def test_a_dial_whose_browsers_have_no_ech_fails_rather_than_say_the_name(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)

    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            transport = HtxTransport(browser(certificates, "curl"))
            with pytest.raises(ConnectionAbortedError, match="no browser of ours"):
                await transport.dial("127.0.0.1", server.getsockname()[1], {**PARAMS, 4: listed()})

    asyncio.run(scenario())


async def link_to(relay: HtxRelay, certificates: Certificates, configs: bytes, template: str) -> None:
    """Dial with these configs, and carry a link's first octets both ways."""
    transport = HtxTransport(browser(certificates, template))
    carrier = await transport.dial("127.0.0.1", relay.port, {**PARAMS, 4: configs})
    here = Peer(carrier)
    packet = b"\0\5\1hell"
    carrier.write([packet])
    there = Peer(await asyncio.wait_for(relay.accepted.get(), 60))
    assert await there.wait_octets(len(packet)) == packet
    assert there.carrier.binding == here.carrier.binding
    carrier.close()
    there.carrier.close()
    await here.wait(lambda: here.is_closed)
    await there.wait(lambda: there.is_closed)


@pytest.fixture(scope="module")
def go_server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("go"))


@pytest.mark.slow
@needs_go
@pytest.mark.parametrize("template", ["chromium", "firefox"])
def test_a_link_over_htx_hides_the_origins_name(tmp_path: Path, go_server: Path, template: str) -> None:
    """Go's server as the origin behind a relay."""
    certificates = make_certificates(tmp_path)

    async def scenario(origin: EchOrigin) -> None:
        async with htx_relay(origin.port) as relay:
            await link_to(relay, certificates, origin.configs, template)

    with ech_origin(go_server, certificates.folder, PUBLIC_NAME) as origin:
        asyncio.run(scenario(origin))
        assert origin.handshake() == {"name": HOST, "accepted": True, "error": ""}


@pytest.mark.slow
@needs_go
@pytest.mark.parametrize("template", ["chromium", "firefox"])
def test_another_hello_is_said_with_ech_as_well(tmp_path: Path, go_server: Path, template: str) -> None:
    """And a link goes through, bound to both outer hellos."""
    certificates = make_certificates(tmp_path)

    async def scenario(origin: EchOrigin) -> None:
        async with htx_relay(origin.port) as relay:
            await link_to(relay, certificates, origin.configs, template)
            said = await asyncio.to_thread(origin.handshake)
            assert said == {"name": HOST, "accepted": True, "error": ""}

    with ech_origin(go_server, certificates.folder, PUBLIC_NAME, retries=True) as origin:
        asyncio.run(scenario(origin))


@pytest.mark.slow
@needs_go
@pytest.mark.parametrize("template", ["chromium", "firefox"])
def test_a_config_of_before_is_tried_and_the_new_one_used(
    tmp_path: Path, go_server: Path, template: str
) -> None:
    """The origin says its new config under a certificate for the public name; two connections, one link."""
    certificates = make_certificates(tmp_path, PUBLIC_NAME, more=(HOST,))

    async def scenario(origin: EchOrigin) -> None:
        async with htx_relay(origin.port) as relay:
            await link_to(relay, certificates, listed(), template)

    with ech_origin(go_server, certificates.folder, PUBLIC_NAME) as origin:
        asyncio.run(scenario(origin))
        refused, taken = origin.handshake(), origin.handshake()
        assert (refused["name"], refused["accepted"]) == (PUBLIC_NAME, False)
        assert taken == {"name": HOST, "accepted": True, "error": ""}


@pytest.mark.slow
@needs_go
def test_a_new_config_counts_only_under_a_certificate_for_the_public_name(
    tmp_path: Path, go_server: Path
) -> None:
    certificates = make_certificates(tmp_path)  # for the host name alone

    async def scenario(origin: EchOrigin) -> None:
        async with htx_relay(origin.port) as relay:
            with pytest.raises(ConnectionAbortedError, match="not trusted for its name"):
                await link_to(relay, certificates, listed(), "chromium")
            assert relay.accepted.empty()

    with ech_origin(go_server, certificates.folder, PUBLIC_NAME) as origin:
        asyncio.run(scenario(origin))
        assert not origin.handshake()["accepted"]


@pytest.mark.slow
@needs_programs("nginx")
@pytest.mark.parametrize("template", ["chromium", "firefox"])
def test_an_origin_without_ech_is_given_up_rather_than_told_the_name(tmp_path: Path, template: str) -> None:
    certificates = make_certificates(tmp_path, PUBLIC_NAME, more=(HOST,))

    async def scenario(port: int) -> None:
        async with htx_relay(port) as relay:
            with pytest.raises(ConnectionAbortedError, match="did not take it"):
                await link_to(relay, certificates, listed(), template)
            assert relay.accepted.empty()

    with nginx(certificates.folder) as port:
        asyncio.run(scenario(port))


def test_a_confirmation_is_bound_to_both_hellos() -> None:
    vector = VECTORS[0]
    (config,) = decode_configs(bytes.fromhex(vector["configs"]))
    _, inner = fixed_offer(vector["template"], config)
    assert inner is not None
    hello, said = inner.hello, bytes.fromhex(vector["server"])
    answer = said[5 : 5 + int.from_bytes(said[3:5])]
    suite = SUITES[int.from_bytes(answer[71:73])]
    assert is_taken(suite, hello, hello.encode(), answer)
    for other in (answer[:29] + bytes(1) + answer[30:], answer[:37] + bytes(1) + answer[38:], answer + b"x"):
        assert not is_taken(suite, hello, hello.encode(), other)
    assert not is_taken(suite, replace(hello, random=bytes(32)), hello.encode(), answer)
    assert not is_taken(suite, hello, b"", answer)


def test_a_relays_setting_is_its_origins_list() -> None:
    assert Options().ech_octets() == b""
    assert Options(ech_configs=base64.b64encode(listed()).decode()).ech_octets() == listed()
    for text in ("!", "AAAA", base64.b64encode(listed(version=1)).decode()):
        with pytest.raises(ConfigurationError, match="ech_configs"):
            Options(ech_configs=text)
