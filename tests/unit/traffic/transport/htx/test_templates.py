import json
import os
from collections import Counter

import pytest

from tests.support.hellos import NAMES, template_of
from vigilnet.base.errors import ConfigurationError, LocalProtocolError
from vigilnet.traffic.transport.htx.templates import (
    OLD_AFTER_DAYS,
    days_from_civil,
    draw,
    format_template,
    parse_template,
)
from vigilnet.traffic.transport.htx.templates_io import bundled_templates

DAY_S = 86_400


@pytest.mark.parametrize("name", NAMES)
def test_a_template_survives_a_round_trip(name: str) -> None:
    template = template_of(name)
    written = format_template(template, "2000-01-01")
    again = parse_template(written, name)
    assert again.captured == days_from_civil(2000, 1, 1) == 10_957
    assert again.extensions == template.extensions
    assert again.suites == template.suites
    assert again.alpn == (b"h2", b"http/1.1")


def test_what_was_not_checked_says_so() -> None:
    assert {template.name for template in bundled_templates() if not template.is_checked} == {
        "edge",
        "safari",
    }
    assert all("not checked" in t.source for t in bundled_templates() if not t.is_checked)


def test_an_old_capture_is_known_as_such() -> None:
    template = template_of("chromium")
    captured = template.captured * DAY_S
    assert not template.is_old(captured + OLD_AFTER_DAYS * DAY_S)
    assert template.is_old(captured + (OLD_AFTER_DAYS + 1) * DAY_S)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"weight": -1},
        {"suites": [70_000]},
        {"suites": None},
        {"compressions": "xx"},
        {"extensions": [{"data": ""}]},
        {"captured": "yesterday"},
    ],
)
def test_what_is_no_template_is_refused_by_name(change: dict[str, object]) -> None:
    values = json.loads(format_template(template_of("curl"), "2000-01-01"))
    with pytest.raises(ConfigurationError, match="hello template mine"):
        parse_template(json.dumps(values | change), "mine")
    with pytest.raises(ConfigurationError):
        parse_template("{", "mine")


def test_templates_are_drawn_by_weight() -> None:
    templates = bundled_templates()
    seen = Counter(draw(templates, os.urandom, {}).name for _ in range(2000))
    assert set(seen) == set(NAMES)
    assert 1100 < seen["chromium"] < 1500
    only = Counter(
        draw(templates, os.urandom, dict.fromkeys(NAMES, 0.0) | {"curl": 1.0}).name for _ in range(50)
    )
    assert set(only) == {"curl"}
    with pytest.raises(LocalProtocolError):
        draw(templates, os.urandom, dict.fromkeys(NAMES, 0.0))


def test_the_last_draw_is_a_template_too() -> None:
    assert draw(bundled_templates(), lambda size: b"\xff" * size, {}).weight > 0
