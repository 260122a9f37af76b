from pathlib import Path

import pytest

from tests.support.hellos import NAMES, template_of
from vigilnet.base.errors import ConfigurationError
from vigilnet.traffic.transport.htx.templates import format_template
from vigilnet.traffic.transport.htx.templates_io import bundled_templates, load_templates


def test_the_package_has_five_templates() -> None:
    assert tuple(template.name for template in bundled_templates()) == NAMES


def test_a_file_of_the_user_replaces_or_joins_the_bundled_ones(tmp_path: Path) -> None:
    for name in ("curl", "mine"):
        (tmp_path / f"{name}.json").write_text(format_template(template_of("edge"), "2000-01-01"))
    loaded = load_templates([tmp_path / "curl.json", tmp_path / "mine.json"])
    assert [template.name for template in loaded] == [*NAMES, "mine"]
    assert loaded[1].browser.startswith("Edge")


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no-such"):
        load_templates([tmp_path / "no-such.json"])
