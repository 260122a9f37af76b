"""Names that are reached around the tunnel."""

import pytest

from vigilnet.traffic.device.split import matches_domain


@pytest.mark.parametrize(
    ("name", "domain", "is_matched"),
    [
        ("example.org", "example.org", True),
        ("www.EXAMPLE.org.", "example.org", True),
        ("a.b.example.org", ".Example.Org.", True),
        ("badexample.org", "example.org", False),
        ("example.org.evil.net", "example.org", False),
        ("org", "example.org", False),
        ("example.org", "", False),
    ],
)
def test_a_domain_stands_for_itself_and_what_is_below(name: str, domain: str, is_matched: bool) -> None:
    assert matches_domain(name, [domain]) is is_matched
