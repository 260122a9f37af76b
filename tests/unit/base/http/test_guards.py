import pytest

from vigilnet.base.http.guards import MAX_ACCOUNTS, BearerToken, OwnHosts, RateLimit, ThisMachine
from vigilnet.base.http.messages import Request


def _request(peer: str = "127.0.0.1", **headers: str) -> Request:
    return Request(
        "GET", "/", headers={name.replace("_", "-"): text for name, text in headers.items()}, peer=peer
    )


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8088", "localhost", "LOCALHOST:1", "[::1]:8088", "127.9.9.9", "own.example"]
)
def test_own_hosts_are_let_through(host: str) -> None:
    assert OwnHosts(["own.example"]).refusal(_request(host=host), 0) is None


@pytest.mark.parametrize(
    "host", ["", "evil.example", "192.0.2.1:8088", "localhost.evil.example", "127.0.0.1.evil"]
)
def test_strange_host_is_refused(host: str) -> None:
    refusal = OwnHosts().refusal(_request(host=host), 0)
    assert refusal is not None
    assert refusal.status == 403


def test_listener_for_others_takes_any_address_but_no_name() -> None:
    guard = OwnHosts(any_address=True)
    assert guard.refusal(_request(host="192.0.2.1:8088"), 0) is None
    assert guard.refusal(_request(host="evil.example"), 0) is not None


@pytest.mark.parametrize(
    ("headers", "is_let"),
    [
        ({"origin": "http://127.0.0.1:8088"}, True),
        ({"origin": "HTTP://127.0.0.1:8088"}, True),
        ({"origin": "http://127.0.0.1:9"}, False),
        ({"origin": "https://127.0.0.1:8088"}, False),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://127.0.0.1:8088, http://evil.example"}, False),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site"}, False),
    ],
)
def test_other_origins_are_refused(headers: dict[str, str], is_let: bool) -> None:
    request = Request("GET", "/", headers={"host": "127.0.0.1:8088", **headers}, peer="127.0.0.1")
    assert (OwnHosts().refusal(request, 0) is None) == is_let


def test_unix_socket_has_no_host_to_judge() -> None:
    assert OwnHosts().refusal(_request(""), 0) is None


@pytest.mark.parametrize(
    ("peer", "is_let"),
    [
        ("", True),
        ("127.0.0.2", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("192.0.2.1", False),
        ("?", False),
    ],
)
def test_this_machine(peer: str, is_let: bool) -> None:
    assert (ThisMachine().refusal(_request(peer), 0) is None) == is_let


@pytest.mark.parametrize(
    ("shown", "is_let"),
    [
        ("Bearer 0123456789abcdef", True),
        ("Bearer 0123456789abcdeg", False),
        ("", False),
        ("0123456789abcdef", False),
        ("Bearer \xe9", False),
    ],
)
def test_only_the_token_opens(shown: str, is_let: bool) -> None:
    refusal = BearerToken("0123456789abcdef").refusal(_request(authorization=shown), 0)
    assert (refusal is None) == is_let
    assert refusal is None or refusal.status == 401


def test_rate_is_counted_for_each_address_and_comes_back_with_time() -> None:
    limit = RateLimit(100)
    answers = [limit.refusal(_request("192.0.2.1"), 0.0) for _ in range(101)]
    assert answers[:100] == [None] * 100
    assert answers[100] is not None
    assert (answers[100].status, answers[100].headers["Retry-After"]) == (429, "1")
    assert limit.refusal(_request("192.0.2.2"), 0.0) is None
    assert limit.refusal(_request("192.0.2.1"), 0.5) is not None
    assert limit.refusal(_request("192.0.2.1"), 0.7) is None


def test_rate_of_an_ipv6_network_is_one_and_zero_is_no_limit() -> None:
    limit = RateLimit(1)
    assert limit.refusal(_request("2001:db8::1"), 0.0) is None
    assert limit.refusal(_request("2001:db8::2"), 0.0) is not None
    assert all(RateLimit(0).refusal(_request(), 0.0) is None for _ in range(3))


def test_rate_limit_remembers_so_many_addresses() -> None:
    limit = RateLimit(1)
    for number in range(MAX_ACCOUNTS + 10):
        limit.refusal(_request(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"), 0.0)
    assert len(limit._left) == MAX_ACCOUNTS
