import json

import pytest

from vigilnet.base.errors import ErrorKind, RemoteProtocolError, VigilnetError
from vigilnet.base.http.messages import (
    MAX_QUERY_FIELDS,
    Request,
    error_response,
    json_response,
    parse_json,
    parse_target,
    response_to,
    text_response,
)


def test_target_is_split_and_its_query_decoded() -> None:
    assert parse_target("/a/b?country=US&x=%20y&empty=") == (
        "/a/b",
        {"country": "US", "x": " y", "empty": ""},
    )
    assert parse_target("/status") == ("/status", {})


@pytest.mark.parametrize("target", ["http://host/x", "*", "", "host:443"])
def test_target_that_is_no_path_is_refused(target: str) -> None:
    with pytest.raises(RemoteProtocolError, match="not a path"):
        parse_target(target)


def test_query_has_at_most_so_many_fields() -> None:
    fields = "&".join(f"f{n}=" for n in range(MAX_QUERY_FIELDS))
    assert len(parse_target(f"/?{fields}")[1]) == MAX_QUERY_FIELDS
    with pytest.raises(RemoteProtocolError, match="more than 32"):
        parse_target(f"/?{fields}&one=more")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_body_that_is_not_json_is_the_senders_fault(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="body: not JSON"):
        Request("POST", "/", body=body).json()


def test_json_of_many_values_is_refused_before_it_takes_their_memory() -> None:
    assert parse_json(b'{"a":[1,2]}', max_values=3) == {"a": [1, 2]}
    for body in (b'{"a":[1,2,3]}', b"[[],[]]", b"[" * 100):
        with pytest.raises(RemoteProtocolError, match="more than 3 values"):
            parse_json(body, max_values=3)


def test_answers_carry_their_kind_of_content() -> None:
    assert json_response({"a": [1]}).body == b'{"a":[1]}'
    assert text_response("ok").content_type.startswith("text/plain")
    assert json.loads(error_response(404, "not found").body) == {"error": "not found"}  # type: ignore[arg-type]
    assert json.loads(error_response(400, "bad", "x" * 999).body)["details"] == "x" * 200  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", list(ErrorKind))
def test_every_kind_of_error_has_a_status_and_our_bugs_show_nothing(kind: ErrorKind) -> None:
    response = response_to(VigilnetError("secret inside", kind))
    assert 400 <= response.status < 600
    assert isinstance(response.body, bytes)
    assert (b"secret" in response.body) == (kind is not ErrorKind.LOCAL_PROTOCOL)
