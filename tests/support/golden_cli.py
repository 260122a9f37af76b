"""Every command's help and JSON, written down: `python -m tests.support.golden_cli` writes them anew.

Fields of the JSON may be added, never renamed or dropped; a look at the difference before committing it
says which of both happened.
"""

import argparse
import contextlib
import dataclasses
import importlib
import io
import json
import logging
import tempfile
from pathlib import Path
from typing import Any, Final

from tests.support.fake_node import served
from vigilnet.surface import keys, wipe
from vigilnet.surface.cli.help_page import commands_of
from vigilnet.surface.cli.main import main, new_parser
from vigilnet.surface.cli.processes import BECOMES
from vigilnet.surface.control.models import Diagnosis, Finding, PeerDiagnosis

GOLDEN: Final = Path(__file__).parents[1] / "vectors" / "cli" / "golden.json"
ASKED: Final = (
    "status", "circuits", "streams", "paths", "peers", "exits", "exits --country SE", "hops", "hops 2",
    "mode", "mode relay", "config list circuits", "config get circuits.hops",
    "config set circuits.idle_s 90", "config reset circuits.idle_s", "logs", "gui --print",
    "new-identity", "new-path", "keep-path", "keep-path 99", "connect", "disconnect", "restart", "stop",
    "exits use --country SE",
    "invite show", "invite add vigilnet:AAAA", "invite list", "device", "portal", "firewall list", "up",
    "down", "dns overlay", "lan on", "lockdown on", "split scope all", "exits --country JP --port 6667",
    "mode exit", "mode exit --yes --abuse-contact a@example.org", "new-path 99", "config get no.such",
    "hops 11",
)  # fmt: skip
CHANGING: Final = ("token", "url")


def golden() -> dict[str, Any]:
    """What is written down."""
    return {"help": helps(), "json": {line: answer_of(line) for line in ASKED}, "fields": fields()}


def helps() -> dict[str, dict[str, str]]:
    """Every command's words, those of programs of their own too."""
    found = {name: help_of(command) for name, command in commands_of(new_parser())}
    for name, module in BECOMES.items():
        parser = importlib.import_module(module).new_parser()
        found[name] |= help_of(parser)
        found |= {f"{name} {below}": help_of(command) for below, command in commands_of(parser)}
    return found


def fields() -> dict[str, list[str]]:
    """The names in the JSON of what asks no node, or differs from machine to machine."""
    out = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(out):
        where = ["--json", "--state-folder", folder]
        codes = [keys.main([verb, *where]) for verb in ("generate", "show")]
        codes += [keys.main(["export", f"{folder}/key", *where]), wipe.main(["--yes", *where])]
        codes.append(main(["version", "--json"]))
    assert not any(codes), codes
    names = ("keys generate", "keys show", "keys export", "wipe", "version")
    said = {
        name: list(json.loads(line)) for name, line in zip(names, out.getvalue().splitlines(), strict=True)
    }
    for name, model in (("doctor", Diagnosis), ("doctor findings", Finding), ("doctor peers", PeerDiagnosis)):
        said[name] = [field.name for field in dataclasses.fields(model)]
    return said


def help_of(command: argparse.ArgumentParser) -> dict[str, str]:
    """A command's words, free of how this Python lays them out."""
    words = {"": command.description or ""}
    for action in command._actions:
        is_shown = action.dest != "help" and action.help != argparse.SUPPRESS
        if is_shown and not isinstance(action, argparse._SubParsersAction):
            words[", ".join(action.option_strings) or action.dest] = action.help or ""
    return words


def answer_of(line: str) -> dict[str, Any]:
    """A command's exit code and JSON, of a node that is always the same."""
    out = io.StringIO()
    logger = logging.getLogger("vigilnet")
    before = logger.level
    logger.setLevel("INFO")  # whatever tests before this one did
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)), contextlib.redirect_stdout(out):
        code = main([*line.split(), "--json", "--state-folder", folder])
    logger.setLevel(before)
    said = json.loads(out.getvalue().replace(folder, "FOLDER"))
    return {"exit": code, "said": steady(said)}


def steady(value: Any) -> Any:  # noqa: ANN401 JSON
    """What is drawn by lot is left out."""
    if isinstance(value, dict):
        return {name: "..." if name in CHANGING else steady(item) for name, item in value.items()}
    return [steady(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps(golden(), indent=1, ensure_ascii=False) + "\n")
