from pathlib import Path

from vigilnet.node.option_list import option_list, values_of
from vigilnet.node.options import load_options
from vigilnet.surface.settings_file import change_file


def test_lists_of_numbers_are_written_as_numbers(tmp_path: Path) -> None:
    file = tmp_path / "vigilnet.toml"
    change_file(file, {"device.inside_users": "65534, 1000", "device.firewall": "in any 10.0.0.0/8"})
    assert "inside_users = [65534, 1000]" in file.read_text()
    device = load_options(file, {}).options.device
    assert device.inside_users == (65534, 1000)
    assert device.firewall == ("in any 10.0.0.0/8",)


def test_every_default_survives_being_written(tmp_path: Path) -> None:
    file = tmp_path / "vigilnet.toml"
    given = {info.key: info.default for info in option_list() if info.default}
    change_file(file, given)
    loaded = values_of(load_options(file, {}).options)
    assert {key: loaded[key] for key in given} == given
