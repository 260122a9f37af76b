"""Finding a sign-in page: by a redirect, by another text, or not at all."""

import asyncio

import pytest

from tests.support.edge_servers import tcp_server
from vigilnet.base.errors import ConfigurationError, EnvironmentRefusedError
from vigilnet.traffic.device.portal_io import Portal, find_portal, host_of, judge


def found(answer: bytes, names: dict[str, list[str]] | None = None, path: str = "/x") -> Portal:
    """What is found on a network whose only web server gives this answer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async def resolve(name: str) -> list[str]:
        return (names or {}).get(name, [])

    async def scenario() -> Portal:
        async with tcp_server(serve) as port:
            return await find_portal(resolve, f"http://127.0.0.1:{port}{path}")

    return asyncio.run(scenario())


def test_the_page_as_it_should_be_means_no_portal() -> None:
    assert found(b"HTTP/1.1 200 OK\r\n\r\nsuccess\n") == Portal("", "", [])


def test_a_redirect_names_the_portal() -> None:
    answer = b"HTTP/1.1 302 Found\r\nLocation: http://login.example/in\r\n\r\n"
    names = {"login.example": ["192.0.2.1"]}
    assert found(answer, names) == Portal("http://login.example/in", "login.example", ["192.0.2.1"])


def test_another_text_means_that_whoever_answered_is_the_portal() -> None:
    portal = found(b"HTTP/1.1 200 OK\r\n\r\n<html>Welcome to our hotel</html>")
    assert (portal.host, portal.addresses) == ("127.0.0.1", ["127.0.0.1"])


@pytest.mark.parametrize("answer", [b"", b"220 mail.example ESMTP\r\n"])
def test_no_answer_of_a_web_server_is_told(answer: bytes) -> None:
    with pytest.raises(EnvironmentRefusedError, match="vigilnet portal URL"):
        found(answer)


def test_a_name_that_nobody_knows_is_told() -> None:
    async def resolve(name: str) -> list[str]:
        return []

    with pytest.raises(EnvironmentRefusedError):
        asyncio.run(find_portal(resolve, "http://none.example/"))


@pytest.mark.parametrize("url", ["", "login.example", "ftp://x.example", "http://", "http://a.example:x/"])
def test_what_is_no_address_of_a_page_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        host_of(url)


@pytest.mark.parametrize(
    ("url", "end"),
    [("http://a.example/", ("a.example", 80)), ("https://[2001:db8::1]:8443/x", ("2001:db8::1", 8443))],
)
def test_host_and_port_of_a_page(url: str, end: tuple[str, int]) -> None:
    assert host_of(url) == end


def test_a_location_in_an_answer_that_is_no_redirect_counts_for_nothing() -> None:
    answer = b"HTTP/1.1 200 OK\r\nLocation: http://evil.example/\r\n\r\nx"
    assert judge(answer, "http://a.example/x") == "http://a.example/x"
