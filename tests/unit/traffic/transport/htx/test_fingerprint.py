import pytest

from tests.support.hellos import captured, template_of
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.transport.htx.fingerprint import ja4, normalised, template_from

ABOUT = {"name": "x", "browser": "x", "captured": 0, "source": "x", "is_checked": True, "weight": 1.0}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [  # as tshark and the reference print them for these captures
        ("chromium", "t13d1517h2_8daaf6152771_cb7bf5808d99"),
        ("firefox", "t13d1617h2_86a278354501_3cbfd9057e0d"),
        ("curl", "t13d3112h2_e8f1e7e78f70_b26ce05bbdd6"),
    ],
)
def test_ja4_is_the_published_one(name: str, wanted: str) -> None:
    assert {ja4(hello) for _, hello in captured(name)} == {wanted}


@pytest.mark.parametrize("name", ["curl", "edge", "firefox", "safari"])
def test_the_bundled_template_comes_out_of_the_stored_captures(name: str) -> None:
    made = template_from(captured(name), **ABOUT)
    wanted = template_of(name)
    assert made.suites == wanted.suites
    assert [extension.kind for extension in made.extensions] == [e.kind for e in wanted.extensions]
    assert made.is_shuffled == wanted.is_shuffled
    assert made.shares_x25519 == wanted.shares_x25519


def test_permutation_is_found_out() -> None:
    assert template_from(captured("chromium"), **ABOUT).is_shuffled


def test_hellos_of_two_programs_make_no_template() -> None:
    with pytest.raises(RemoteProtocolError):
        template_from([*captured("chromium")[:1], *captured("curl")[:1]], **ABOUT)


def test_a_difference_in_any_field_is_seen() -> None:
    template = template_of("chromium")
    _, real = captured("chromium")[0]
    wanted = normalised(real, template)
    others = [
        real.with_extension(45, b"\1\0"),
        real.with_extension(13, b"\0\2\4\3"),
        real.with_extension(51, b"\0\0"),
        real.with_extension(0xFE0D, b"\0\0\1\0\3" + (real.extension(0xFE0D) or b"")[5:]),
    ]
    for other in others:
        assert normalised(other, template) != wanted
