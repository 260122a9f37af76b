import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.base.errors import LocalProtocolError
from vigilnet.traffic.ingress.http_proxy import TUNNEL_OPEN, HttpProxyMachine, OpenRequest
from vigilnet.traffic.ingress.socks5 import isolation_key
from vigilnet.traffic.stream.wire import EndReason

GET = b"GET http://a.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n"
GET_OUT = b"GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def client_sees(machine: HttpProxyMachine) -> bytes:
    return b"".join(machine.to_client())


def opened(request: bytes, *, fields: bytes = b"") -> HttpProxyMachine:
    """A machine whose first request got its stream."""
    machine = HttpProxyMachine()
    machine.client_received(request.replace(b"\r\n\r\n", b"\r\n" + fields + b"\r\n", 1))
    assert machine.take_open() is not None
    machine.opened()
    return machine


def origin(machine: HttpProxyMachine, octets: bytes) -> None:
    machine.origin_received(memoryview(octets))


# ---- CONNECT


@pytest.mark.parametrize(
    ("target", "host", "port"),
    [
        (b"example.com:443", "example.com", 443),
        (b"93.184.216.34:8443", "93.184.216.34", 8443),
        (b"[2001:DB8::1]:443", "2001:db8::1", 443),
    ],
)
def test_connect_opens_a_tunnel(target: bytes, host: str, port: int) -> None:
    machine = HttpProxyMachine()
    machine.client_received(b"CONNECT " + target + b" HTTP/1.1\r\nHost: " + target + b"\r\n\r\nearly")
    assert machine.take_open() == OpenRequest(host, port, "", True, b"early")
    assert machine.take_open() is None
    assert not machine.wants_client_data
    machine.opened()
    assert client_sees(machine) == TUNNEL_OPEN
    assert not machine.is_over


@pytest.mark.parametrize(
    "request_",
    [
        b"CONNECT example.com HTTP/1.1\r\n\r\n",
        b"CONNECT example.com:0 HTTP/1.1\r\n\r\n",
        b"CONNECT example.com:65536 HTTP/1.1\r\n\r\n",
        b"CONNECT example.com: HTTP/1.1\r\n\r\n",
        b"CONNECT :443 HTTP/1.1\r\n\r\n",
        b"CONNECT http://example.com:443 HTTP/1.1\r\n\r\n",
        b"CONNECT u@example.com:443 HTTP/1.1\r\n\r\n",
        b"CONNECT 2001:db8::1:443 HTTP/1.1\r\n\r\n",
        b"CONNECT [1.2.3.4]:443 HTTP/1.1\r\n\r\n",
        b"CONNECT [::1%25lo]:443 HTTP/1.1\r\n\r\n",
        b"CONNECT 0x7f.1:443 HTTP/1.1\r\n\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\nContent-Length: 5\r\n\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8118\r\n\r\n",
        b"GET https://example.com/ HTTP/1.1\r\n\r\n",
        b"GET ftp://example.com/ HTTP/1.1\r\n\r\n",
        b"GET http:///x HTTP/1.1\r\n\r\n",
        b"GET http://user:pass@example.com/ HTTP/1.1\r\n\r\n",
        b"GET http://example.com:0/ HTTP/1.1\r\n\r\n",
        b"GET http://example.com:99999/ HTTP/1.1\r\n\r\n",
        b"GET http://example.com/#part HTTP/1.1\r\n\r\n",
        b"GET http://127.1/ HTTP/1.1\r\n\r\n",
        b"GET http://a.example/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST http://a.example/ HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST http://a.example/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET http://a.example/ HTTP/1.1\r\nConnection: host\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"nonsense\r\n\r\n",
    ],
)
def test_bad_requests_get_a_page_and_open_nothing(request_: bytes) -> None:
    machine = HttpProxyMachine()
    machine.client_received(request_)
    assert client_sees(machine).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert machine.take_open() is None
    assert machine.is_over
    assert not machine.wants_client_data


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"TRACE http://a.example/ HTTP/1.1\r\n\r\n", b"405 "),
        (b"GET http://a.example/ HTTP/2.0\r\n\r\n", b"505 "),
        (b"GET http://a.example/ HTTP/1.1\r\nA: " + b"x" * 40_000, b"431 "),
        (b"POST http://a.example/ HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", b"501 "),
    ],
)
def test_other_refusals(request_: bytes, status: bytes) -> None:
    machine = HttpProxyMachine()
    machine.client_received(request_)
    assert client_sees(machine).startswith(b"HTTP/1.1 " + status)
    assert machine.is_over


@pytest.mark.parametrize(
    ("octets", "answer"), [(b"\x05\x01\x00", b"\x05\xff"), (b"\x04\x01\x00\x50", b"\x00\x5b" + bytes(6))]
)
def test_socks_on_the_http_port_is_told_so_in_socks(octets: bytes, answer: bytes) -> None:
    machine = HttpProxyMachine()
    machine.client_received(octets)
    assert client_sees(machine) == answer
    assert machine.is_over


@pytest.mark.parametrize("connect", [True, False])
@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (EndReason.REFUSED, 502),
        (EndReason.POLICY, 403),
        (EndReason.RESOLVE_FAILED, 502),
        (EndReason.NO_ROUTE, 502),
        (EndReason.TIMEOUT, 504),
        (EndReason.RESET, 502),
        (EndReason.LIMIT, 503),
        (EndReason.CLOSING, 503),
        (EndReason.DONE, 502),
        (None, 503),
    ],
)
def test_each_failure_to_open_has_its_page(reason: EndReason | None, status: int, connect: bool) -> None:
    machine = HttpProxyMachine()
    machine.client_received(b"CONNECT a.example:443 HTTP/1.1\r\n\r\n" if connect else GET)
    machine.open_failed(reason)
    page = client_sees(machine)
    assert page.startswith(b"HTTP/1.1 %d " % status)
    assert b"a.example" not in page
    assert machine.is_over


# ---- absolute form


@pytest.mark.parametrize(
    ("request_", "port", "out"),
    [
        (GET, 80, GET_OUT),
        (
            b"GET http://a.example:8080 HTTP/1.1\r\n\r\n",
            8080,
            b"GET / HTTP/1.1\r\nHost: a.example:8080\r\n\r\n",
        ),
        (b"GET HTTP://a.example?q HTTP/1.1\r\n\r\n", 80, b"GET /?q HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        (b"GET http://a.example:/ HTTP/1.1\r\n\r\n", 80, b"GET / HTTP/1.1\r\nHost: a.example:\r\n\r\n"),
        (b"OPTIONS http://a.example HTTP/1.1\r\n\r\n", 80, b"OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        (
            b"GET http://a.example/ HTTP/1.1\r\nAccept: x\r\nhost: evil.example\r\nB: c\r\n\r\n",
            80,
            b"GET / HTTP/1.1\r\nAccept: x\r\nhost: a.example\r\nB: c\r\n\r\n",
        ),
        (
            b"GET http://a.example/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            80,
            b"GET / HTTP/1.0\r\nHost: a.example\r\nConnection: close\r\n\r\n",
        ),
        (
            b"GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nProxy-Connection: close\r\n\r\n",
            80,
            b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n",
        ),
    ],
)
def test_requests_reach_the_origin_in_origin_form(request_: bytes, port: int, out: bytes) -> None:
    machine = HttpProxyMachine()
    machine.client_received(b"\r\n" + request_)
    assert machine.take_open() == OpenRequest("a.example", port, "", False, b"")
    assert machine.to_origin() == b""
    machine.opened()
    assert machine.to_origin() == out


def test_nothing_that_names_us_or_the_login_reaches_the_origin() -> None:
    machine = opened(GET, fields=b"Proxy-Authorization: Basic bWU6cHdk\r\nProxy-Connection: keep-alive\r\n")
    assert machine.to_origin() == GET_OUT


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (b"Basic " + base64.b64encode(b"me:p:wd"), isolation_key(b"me", b"p:wd")),
        (b"basic " + base64.b64encode(b"me"), isolation_key(b"me", b"")),
        (b"Basic !!!", isolation_key(b"Basic !!!", b"")),
        (b"Bearer abc", isolation_key(b"Bearer abc", b"")),
    ],
)
def test_proxy_login_isolates_as_socks_does(value: bytes, key: str) -> None:
    machine = HttpProxyMachine()
    machine.client_received(b"CONNECT a.example:1 HTTP/1.1\r\nProxy-Authorization: " + value + b"\r\n\r\n")
    wanted = machine.take_open()
    assert wanted is not None
    assert wanted.isolation == key


@pytest.mark.parametrize("step", [1, 5, 1000])
def test_bodies_pass_unaltered(step: int) -> None:
    body = b"5;x=y\r\nhello\r\n0\r\nTrailer: z\r\n\r\n"
    response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    machine = opened(b"POST http://a.example/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    sent = machine.to_origin()
    for at in range(0, len(body), step):
        assert machine.wants_client_data
        machine.client_received(body[at : at + step])
        sent += machine.to_origin()
    assert sent.endswith(b"\r\n\r\n" + body)
    assert not machine.wants_client_data
    seen = b""
    for at in range(0, len(response), step):
        origin(machine, response[at : at + step])
        seen += client_sees(machine)
    assert seen == response
    assert machine.is_idle
    assert machine.wants_origin


def test_the_stream_is_reused_for_the_same_site_only() -> None:
    machine = opened(GET)
    origin(machine, OK)
    machine.to_origin()
    machine.client_received(GET)
    assert machine.take_open() is None
    assert machine.to_origin() == GET_OUT
    origin(machine, OK)
    machine.client_received(GET.replace(b"a.example", b"b.example"))
    assert machine.take_open() == OpenRequest("b.example", 80, "", False, b"")
    machine.opened()
    origin(machine, OK)
    machine.client_received(GET.replace(b"\r\n\r\n", b"\r\nProxy-Authorization: Basic bWU6cHdk\r\n\r\n", 1))
    wanted = machine.take_open()
    assert wanted is not None
    assert wanted.isolation == isolation_key(b"me", b"pwd")


def test_pipelined_requests_are_answered_in_order_and_reach_their_own_sites() -> None:
    machine = HttpProxyMachine()
    machine.client_received(GET + GET.replace(b"a.example", b"b.example"))
    machine.opened()
    assert machine.to_origin() == GET_OUT
    origin(machine, OK)
    assert machine.take_open() is not None
    assert machine.take_open() is None


def test_pipelined_second_site_waits_for_the_first_response() -> None:
    machine = HttpProxyMachine()
    machine.client_received(GET + GET.replace(b"a.example", b"b.example"))
    first = machine.take_open()
    assert first is not None
    assert first.host == "a.example"
    machine.opened()
    assert machine.to_origin() == GET_OUT
    assert machine.take_open() is None
    origin(machine, OK)
    second = machine.take_open()
    assert second is not None
    assert second.host == "b.example"
    assert client_sees(machine) == OK


@pytest.mark.parametrize(
    ("method", "response", "stays"),
    [
        (b"GET", OK, True),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", True),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", True),
        (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True),
        (b"GET", b"HTTP/1.1 100 Continue\r\n\r\n" + OK, True),
        (b"GET", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, True),
    ],
)
def test_responses_end_where_they_end(method: bytes, response: bytes, stays: bool) -> None:
    machine = opened(GET.replace(b"GET", method))
    origin(machine, response)
    assert client_sees(machine) == response
    assert machine.is_idle is stays


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        OK + b"surplus",
    ],
)
def test_the_client_stays_when_only_the_origin_goes(response: bytes) -> None:
    machine = opened(GET)
    origin(machine, response)
    assert client_sees(machine) == OK
    assert not machine.wants_origin
    assert machine.is_idle
    machine.client_received(GET)
    assert machine.take_open() is not None


def test_a_response_that_ends_with_the_connection_closes_the_client_too() -> None:
    machine = opened(GET)
    origin(machine, b"HTTP/1.1 200 OK\r\n\r\nabc")
    assert client_sees(machine) == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc"
    origin(machine, b"def")
    assert client_sees(machine) == b"def"
    machine.origin_ended(is_clean=True)
    assert machine.is_over
    assert not machine.was_cut


@pytest.mark.parametrize(
    ("response", "is_clean"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", True),
        (b"HTTP/1.1 200 OK\r\n\r\nabc", False),
    ],
)
def test_a_cut_response_is_shown_as_cut(response: bytes, is_clean: bool) -> None:
    machine = opened(GET)
    origin(machine, response)
    machine.origin_ended(is_clean=is_clean)
    assert machine.is_over
    assert machine.was_cut


def test_malformed_chunks_from_the_origin_cut_the_response() -> None:
    machine = opened(GET)
    origin(machine, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    origin(machine, b"zz\r\n")
    assert machine.was_cut
    assert b"502" not in client_sees(machine)


@pytest.mark.parametrize(
    "response",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: content-length\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * 40_000,
    ],
)
def test_bad_responses_are_a_bad_gateway(response: bytes) -> None:
    machine = opened(GET)
    origin(machine, response)
    assert client_sees(machine).startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert machine.is_over


def test_origin_that_ends_without_a_word_is_a_bad_gateway() -> None:
    machine = opened(GET)
    machine.origin_ended(is_clean=True)
    assert client_sees(machine).startswith(b"HTTP/1.1 502 ")


def test_a_reused_stream_that_ended_under_the_request_is_opened_again_once() -> None:
    machine = opened(GET)
    origin(machine, OK)
    machine.client_received(GET)
    machine.to_origin()
    client_sees(machine)
    machine.origin_ended(is_clean=True)
    assert machine.take_open() == OpenRequest("a.example", 80, "", False, b"")
    machine.opened()
    assert machine.to_origin() == GET_OUT
    machine.origin_ended(is_clean=True)
    assert client_sees(machine).startswith(b"HTTP/1.1 502 ")


def test_a_post_is_not_sent_twice() -> None:
    machine = opened(GET)
    origin(machine, OK)
    client_sees(machine)
    machine.client_received(b"POST http://a.example/ HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
    machine.origin_ended(is_clean=True)
    assert client_sees(machine).startswith(b"HTTP/1.1 502 ")


def test_idle_origin_may_end_or_speak_out_of_turn() -> None:
    for act in ("end", "speak"):
        machine = opened(GET)
        origin(machine, OK)
        client_sees(machine)
        if act == "end":
            machine.origin_ended(is_clean=False)
        else:
            origin(machine, b"HTTP/1.1 408 Timeout\r\n\r\n")
        assert not machine.wants_origin
        assert machine.is_idle
        assert client_sees(machine) == b""


def test_early_final_response_to_an_unfinished_body_ends_the_connection() -> None:
    machine = opened(b"POST http://a.example/ HTTP/1.1\r\nContent-Length: 100\r\n\r\nabc")
    origin(machine, b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
    assert client_sees(machine).startswith(b"HTTP/1.1 413 ")
    assert machine.is_over


def test_client_that_sends_no_more_still_gets_its_response() -> None:
    machine = opened(GET)
    machine.client_ended()
    origin(machine, OK)
    assert client_sees(machine).endswith(b"Connection: close\r\n\r\nok")
    assert machine.is_over
    assert not machine.was_cut


@pytest.mark.parametrize(
    "request_", [b"", b"GET http://a", b"POST http://a/ HTTP/1.1\r\nContent-Length: 9\r\n\r\n"]
)
def test_client_that_goes_early_ends_it_all(request_: bytes) -> None:
    machine = HttpProxyMachine()
    machine.client_received(request_)
    if machine.take_open():
        machine.opened()
    machine.client_ended()
    assert machine.is_over
    assert not machine.wants_origin


def test_slow_head_is_told_so() -> None:
    machine = HttpProxyMachine()
    machine.client_received(b"GET http://a")
    machine.time_out()
    assert client_sees(machine).startswith(b"HTTP/1.1 408 ")
    silent = HttpProxyMachine()
    silent.time_out()
    assert client_sees(silent) == b""
    assert silent.is_over


def test_malformed_chunk_from_the_client_is_told_unless_a_response_began() -> None:
    request = b"POST http://a.example/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    machine = opened(request)
    machine.client_received(b"zz\r\n")
    assert client_sees(machine).startswith(b"HTTP/1.1 400 ")
    machine = opened(request)
    origin(machine, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
    client_sees(machine)
    machine.client_received(b"zz\r\n")
    assert client_sees(machine) == b""
    assert machine.was_cut


def test_opened_twice_is_our_own_bug() -> None:
    machine = opened(GET)
    with pytest.raises(LocalProtocolError):
        machine.opened()


@given(st.lists(st.tuples(st.sampled_from("co"), st.binary(max_size=60)), max_size=8))
def test_any_octets_from_either_side_never_break_the_machine(turns: list[tuple[str, bytes]]) -> None:
    for start in (b"", GET, GET[:-2], b"POST http://a/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"):
        machine = HttpProxyMachine()
        machine.client_received(start)
        for side, octets in turns:
            if machine.take_open():
                machine.opened()
            if side == "c" and machine.wants_client_data:
                machine.client_received(octets)
            elif side == "o":
                origin(machine, octets)
            machine.to_client()
            machine.to_origin()
        machine.origin_ended(is_clean=False)
        machine.client_ended()
        assert machine.is_over or not machine.is_idle
