import pytest

from vigilnet.base.errors import ConfigurationError
from vigilnet.node.endpoints import host_and_port, is_unspecified, join


@pytest.mark.parametrize("text", ["192.0.2.1:1", "[2001:db8::1]:65535", "a.example:443"])
def test_endpoints_come_back(text: str) -> None:
    assert join(*host_and_port(text, "key")) == text


@pytest.mark.parametrize("text", ["", "a", "a:", ":1", "a:0", "a:65536", "a:x"])
def test_what_is_no_endpoint_is_told_with_its_key(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"relay.listen.*expected host:port"):
        host_and_port(text, "relay.listen")


def test_port_0_is_for_listeners() -> None:
    assert host_and_port("[::]:0", "key", least_port=0) == ("::", 0)
    assert is_unspecified("::")
    assert is_unspecified("0.0.0.0")  # noqa: S104
    assert not is_unspecified("a.example")
