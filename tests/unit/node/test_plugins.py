from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from vigilnet.base.errors import ConfigurationError
from vigilnet.node.plugins import installed, load_plugins
from vigilnet.traffic.transport.pluggable.options import Options
from vigilnet.traffic.transport.pluggable.plugin import ENTRY_POINTS, PluginContext


def made(context: PluginContext) -> PluginContext:
    return context


def broken(context: PluginContext) -> None:
    raise RuntimeError("no luck")


def offered() -> list[EntryPoint]:
    return [EntryPoint(name, f"{__name__}:{name}", ENTRY_POINTS) for name in ("made", "broken", "missing")]


def load(entry: EntryPoint) -> object:
    return globals()[entry.name]


@pytest.fixture(autouse=True)
def from_this_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EntryPoint, "load", load)


def test_only_what_the_settings_name_is_loaded(tmp_path: Path) -> None:
    assert load_plugins(Options(), tmp_path, bytes, offered) == {}
    options = Options(plugins=("made",), plugin_options=("made = a=b", "other = c=d"))
    plugins: Mapping[str, object] = load_plugins(options, tmp_path, bytes, offered)
    assert plugins["made"] == PluginContext(tmp_path / "made-plugin", bytes, {"a": "b"})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("absent", "absent is not installed; installed: broken, made, missing"),
        ("broken", "broken does not load .RuntimeError: no luck"),
        ("missing", "missing does not load"),
    ],
)
def test_what_does_not_load_is_told(name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load_plugins(Options(plugins=(name,)), tmp_path, bytes, offered)


def test_nothing_installed_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="installed: none"):
        load_plugins(Options(plugins=("x",)), tmp_path, bytes, lambda: ())
    assert all(entry.group == ENTRY_POINTS for entry in installed())
