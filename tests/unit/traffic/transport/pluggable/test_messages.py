"""What managed proxies say and are told; the sessions are those of the specification's appendices."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.traffic.transport.pluggable.messages import (
    MAX_LINES,
    ProxyOutput,
    ServerMethod,
    as_credentials,
    client_environment,
    from_credentials,
    read_address,
    read_arguments,
    server_environment,
    write_arguments,
)

TEXTS = st.text(min_size=1, max_size=20)


def said(
    *lines: str, wanted: tuple[str, ...] = ("trebuchet", "rot_by_N"), is_server: bool = False
) -> ProxyOutput:
    output = ProxyOutput(wanted, is_server=is_server)
    for line in lines:
        output.line_received(line.encode())
    return output


def test_a_clients_session() -> None:
    output = said(
        "VERSION 1",
        "LOG SEVERITY=debug MESSAGE=hello",
        "PROXY DONE",
        "CMETHOD trebuchet socks5 127.0.0.1:19999",
        "CMETHOD-ERROR rot_by_N no such thing",
        "CMETHODS DONE",
        "anything at all",
    )
    assert output.is_ready
    assert output.client_methods["trebuchet"].host == "127.0.0.1"
    assert output.client_methods["trebuchet"].port == 19999
    assert output.client_methods["trebuchet"].version == 5
    assert output.refused == {"rot_by_N": "no such thing"}


def test_a_servers_session() -> None:
    output = said(
        "VERSION 1",
        r"SMETHOD trebuchet 198.51.100.1:19999 ARGS:password=is\,secret,mode=0",
        "SMETHOD rot_by_N [2001:db8::1]:2323",
        "SMETHODS DONE",
        is_server=True,
    )
    assert output.is_ready
    assert output.server_methods == {
        "trebuchet": ServerMethod("trebuchet", "198.51.100.1", 19999, {"password": "is,secret", "mode": "0"}),
        "rot_by_N": ServerMethod("rot_by_N", "2001:db8::1", 2323),
    }


@pytest.mark.parametrize(
    "lines",
    [
        ("VERSION 2",),
        ("VERSION-ERROR no-version",),
        ("ENV-ERROR no state\x1b[2J",),
        ("VERSION 1", "PROXY-ERROR no"),
        ("CMETHOD trebuchet socks5 127.0.0.1:1",),
        ("CMETHODS DONE",),
        ("VERSION 1", "CMETHOD other socks5 127.0.0.1:1"),
        ("VERSION 1", "CMETHOD trebuchet http 127.0.0.1:1"),
        ("VERSION 1", "CMETHOD trebuchet socks5 127.0.0.1"),
        ("VERSION 1", "CMETHOD trebuchet socks5 127.0.0.1:0"),
        ("VERSION 1", "CMETHOD trebuchet socks5 127.0.0.1:65536"),
        ("VERSION 1", "CMETHOD trebuchet"),
        ("LOG x" * 5000,),
        ("LOG",) * (MAX_LINES + 1),
    ],
)
def test_what_is_not_version_1_is_the_programs_fault(lines: tuple[str, ...]) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        said(*lines)
    assert str(caught.value).isprintable()


@given(st.lists(st.binary(max_size=60), max_size=8), st.booleans())
def test_any_lines_are_read_or_blamed(lines: list[bytes], is_server: bool) -> None:
    output = ProxyOutput(["a"], is_server=is_server)
    try:
        for line in lines:
            output.line_received(line)
    except RemoteProtocolError:
        pass


@given(st.dictionaries(TEXTS, TEXTS, max_size=4), st.sampled_from(",;"))
def test_arguments_come_back(arguments: dict[str, str], separator: str) -> None:
    assert read_arguments(write_arguments(arguments, separator), separator) == arguments


@given(st.text(max_size=40))
def test_any_text_is_arguments_or_blamed(text: str) -> None:
    with contextlib.suppress(RemoteProtocolError):
        read_arguments(text)


@pytest.mark.parametrize("text", ["a", "=b", "a=b;", "a=b\\", "a=b;c", ";"])
def test_arguments_without_key_value_or_end_are_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        read_arguments(text)


@pytest.mark.parametrize("size", [1, 252, 253, 254, 508])
def test_arguments_travel_as_user_name_and_password(size: int) -> None:
    arguments = {"a": "x" * size}
    user, password = as_credentials(arguments)
    assert 0 < len(user) < 256
    assert 0 < len(password) < 256
    assert from_credentials(user, password) == arguments


def test_arguments_that_do_not_fit_are_our_own_bug() -> None:
    with pytest.raises(LocalProtocolError):
        as_credentials({"a": "x" * 509})


def test_credentials_that_are_no_text_are_blamed() -> None:
    with pytest.raises(RemoteProtocolError):
        from_credentials(b"\xff=a", b"\0")


@pytest.mark.parametrize("text", ["", "127.0.0.1", ":1", "a:", "a:x", "a:99999999999"])
def test_an_address_has_host_and_port(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        read_address(text)


def test_environments_are_those_of_version_1() -> None:
    assert client_environment(["obfs4", "meek"], "/s")["TOR_PT_CLIENT_TRANSPORTS"] == "obfs4,meek"
    served = server_environment(
        {"obfs4": "192.0.2.1:1"},
        "/s",
        options={"obfs4": {"iat-mode": "1"}},
        extended_or_port=("127.0.0.1:2", "/c"),
    )
    assert served == {
        "TOR_PT_MANAGED_TRANSPORT_VER": "1",
        "TOR_PT_STATE_LOCATION": "/s",
        "TOR_PT_EXIT_ON_STDIN_CLOSE": "1",
        "TOR_PT_SERVER_TRANSPORTS": "obfs4",
        "TOR_PT_SERVER_BINDADDR": "obfs4-192.0.2.1:1",
        "TOR_PT_SERVER_TRANSPORT_OPTIONS": "obfs4:iat-mode=1",
        "TOR_PT_ORPORT": "",
        "TOR_PT_EXTENDED_SERVER_PORT": "127.0.0.1:2",
        "TOR_PT_AUTH_COOKIE_FILE": "/c",
    }
