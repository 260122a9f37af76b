"""One node's settings from all their sources."""

from pathlib import Path

import pytest

from tests.support.example_config import EXAMPLE, example_text
from vigilnet.base.config import Settings, keys_of
from vigilnet.base.errors import ConfigurationError
from vigilnet.node.modes import Mode
from vigilnet.node.options import Options, load_options, with_mode


@pytest.fixture(autouse=True)
def no_file_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def test_precedence_is_file_then_environment_then_command_line(tmp_path: Path) -> None:
    file = tmp_path / "vigilnet.toml"
    file.write_text(
        '[node]\nnetwork = "file"\n[relay]\nenabled = true\nfamily = "file"\n[log]\nlevel = "debug"\n'
    )
    loaded = load_options(
        file, {"VIGILNET_NODE_NETWORK": "env", "VIGILNET_RELAY_FAMILY": "env"}, [("node.network", "line")]
    )
    assert (loaded.options.node.network, loaded.options.relay.family) == ("line", "env")
    assert (loaded.options.relay.enabled, loaded.options.log.level) == (True, "debug")
    assert loaded.origins["log.level"] == f"{file}, line 7"


def test_a_named_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file; name an existing one"):
        load_options(tmp_path / "none.toml", {})


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_options(tmp_path, {})


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    assert load_options(None, {}).options == with_mode(Options())
    (tmp_path / "vigilnet").mkdir()
    (tmp_path / "vigilnet" / "vigilnet.toml").write_text("[relay]\nenabled = true")
    assert load_options(None, {}).options.relay.enabled


def test_a_bad_level_is_refused_with_its_origin() -> None:
    with pytest.raises(
        ConfigurationError, match=r"log.level: got 'loud', expected error, .* \(command line\)"
    ):
        load_options(None, {}, [("log.level", "loud")])


@pytest.mark.parametrize("country", ["se", "SWE", "S1", "ÅÄ"])
def test_a_country_is_two_capital_letters(country: str) -> None:
    assert load_options(None, {}, [("relay.country", "SE")]).options.relay.country == "SE"
    with pytest.raises(ConfigurationError, match=r"relay.country: got"):
        load_options(None, {}, [("relay.country", country)])


def test_old_variables_count_more_than_the_file_and_less_than_new_ones(tmp_path: Path) -> None:
    file = tmp_path / "vigilnet.toml"
    file.write_text("[ingress]\nsocks_port = 1\n[mesh]\nmax_circuits = 7\nenabled = true\n")
    loaded = load_options(
        file, {"STEALTH_SOCKS_PORT": "9050", "STEALTH_MODE": "exit", "QNET_EXPECTED_PEER_IP": "1"}
    )
    assert loaded.options.ingress.socks_port == 9050
    assert (loaded.options.relay.enabled, loaded.options.exit.enabled) == (True, True)
    assert loaded.options.circuits.max_circuits == 7
    assert loaded.origins["ingress.socks_port"] == "environment STEALTH_SOCKS_PORT"
    assert loaded.warnings == (
        f"{file}, line 5: old key 'mesh.enabled' has no effect in this version",
        "environment QNET_EXPECTED_PEER_IP: has no effect in this version",
    )
    environment = {"STEALTH_SOCKS_PORT": "9050", "VIGILNET_INGRESS_SOCKS_PORT": "3"}
    assert load_options(file, environment).options.ingress.socks_port == 3


def test_the_example_file_shows_every_key_at_its_default() -> None:
    text = EXAMPLE.read_text()
    assert text == example_text(), "write it anew: python -m tests.support.example_config"
    uncommented = "\n".join(line.removeprefix("#") for line in text.splitlines() if not line.startswith("# "))
    settings = Settings(Options())
    settings.add_file(uncommented.encode(), EXAMPLE.name)
    assert settings.build() == Options()
    assert settings.warnings == []
    assert settings.origins.keys() == keys_of(Options()).keys()


def test_mode_wins_over_what_it_stands_for() -> None:
    assignments = [("relay.enabled", "true"), ("exit.enabled", "true"), ("node.mode", "client")]
    options = load_options(None, {}, assignments).options
    assert (options.node.mode, options.relay.enabled, options.exit.enabled) == (Mode.CLIENT, False, False)
    options = load_options(None, {"STEALTH_MODE": "super"}).options
    assert (options.node.mode, options.relay.enabled, options.exit.enabled) == (Mode.SUPER, True, True)


@pytest.mark.parametrize(
    ("file", "old", "new", "line", "mode"),
    [
        ("", None, None, None, "client"),
        ("relay", None, None, None, "relay"),
        ("relay", "super", None, None, "super"),
        ("relay", "super", "bootstrap", None, "bootstrap"),
        ("relay", "super", "bootstrap", "client", "client"),
        ("", "exit-node", None, "relay", "relay"),
    ],
)
def test_modes_follow_the_precedence(
    tmp_path: Path, file: str, old: str | None, new: str | None, line: str | None, mode: str
) -> None:
    config = tmp_path / "vigilnet.toml"
    config.write_text(f"[node]\nmode = '{file}'\n")
    environment = {"STEALTH_MODE": old, "VIGILNET_NODE_MODE": new}
    given = {name: text for name, text in environment.items() if text is not None}
    loaded = load_options(config, given, [("node.mode", line)] if line else [])
    assert loaded.options.node.mode is Mode(mode)
