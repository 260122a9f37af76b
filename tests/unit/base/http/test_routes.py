import pytest

from vigilnet.base.errors import LocalProtocolError
from vigilnet.base.http.messages import Request, Response, error_response, text_response
from vigilnet.base.http.routes import Route, Routes, find_route


class Refusing:
    def refusal(self, request: Request, now: float) -> Response | None:
        return error_response(403, "no") if "bad" in request.query else None


def _answer(_: Request) -> Response:
    return text_response("ok")


@pytest.fixture
def groups() -> list[Routes]:
    first, second = Routes(), Routes({"X-Group": "2"}, Refusing())
    first.add("GET", "/a", _answer)
    first.add("POST", "/a", _answer, max_body=5)
    second.add("GET", "/a", lambda _: text_response("second"))
    second.add("GET", "/files/*", _answer)
    second.add("GET", "/files/deep/*", _answer, max_body=1)
    second.add("GET", "/files/one", _answer, max_body=2)
    return [first, second]


def _found(groups: list[Routes], method: str, path: str, **query: str) -> Route | Response:
    return find_route(groups, Request(method, path, query), 0.0)


def test_first_group_with_the_path_answers(groups: list[Routes]) -> None:
    found = _found(groups, "GET", "/a")
    assert isinstance(found, Route)
    assert found.answer is _answer


def test_head_is_answered_as_get(groups: list[Routes]) -> None:
    assert _found(groups, "HEAD", "/a") == _found(groups, "GET", "/a")


def test_exact_path_wins_over_prefixes_and_the_longest_of_them_wins(groups: list[Routes]) -> None:
    bodies = [_found(groups, "GET", path) for path in ("/files/x", "/files/deep/x", "/files/one")]
    assert [found.max_body for found in bodies if isinstance(found, Route)] == [0, 1, 2]


def test_unknown_path_and_method_are_told_apart(groups: list[Routes]) -> None:
    unknown, method = _found(groups, "GET", "/b"), _found(groups, "DELETE", "/a")
    assert isinstance(unknown, Response)
    assert unknown.status == 404
    assert isinstance(method, Response)
    assert (method.status, method.headers["Allow"]) == (405, "GET, POST")
    assert b"use GET or POST" in bytes(method.body)  # type: ignore[arg-type]


def test_guard_of_a_group_is_asked_for_each_route(groups: list[Routes]) -> None:
    refused = _found(groups, "GET", "/files/x", bad="1")
    assert isinstance(refused, Response)
    assert refused.status == 403


def test_route_that_is_there_twice_is_our_own_bug(groups: list[Routes]) -> None:
    with pytest.raises(LocalProtocolError, match="twice"):
        groups[0].add("GET", "/a", _answer)
