import pytest

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.base.http.url import Url, parse_url


def test_urls_of_servers() -> None:
    assert parse_url("http://127.0.0.1:8088/") == Url("127.0.0.1", 8088, is_secure=False)
    assert parse_url(" https://Dir.Example ") == Url("dir.example", 443, is_secure=True)
    assert parse_url("http://[::1]:1").text == "http://[::1]:1"
    assert parse_url("https://dir.example:443").text == "https://dir.example"
    pinned = "https://192.0.2.1:8443#sha256=" + "0f" * 32
    assert parse_url(pinned) == Url("192.0.2.1", 8443, is_secure=True, pin=b"\x0f" * 32)
    assert parse_url(pinned).text == pinned


@pytest.mark.parametrize(
    "text",
    ["", "dir.example", "ftp://x", "http://", "http://x/path", "http://x?q", "http://x#f", "https://x#f",
     "https://x#sha256=0F", "http://x#sha256=" + "0f" * 32, "http://u@x", "http://u:p@x",
     "http://x:0", "http://x:99999", "http://x:y", "http://\u00fc", "http://a b", "http://[::1", "http://a\r\nb"],
)  # fmt: skip
def test_other_urls_are_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError, match="url: got"):
        parse_url(text)
