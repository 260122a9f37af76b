"""A short turn of every fuzz target, and the runner itself; `make fuzz` is the long one."""

from pathlib import Path

import pytest

from tests.fuzz import run
from tests.fuzz.run import Campaign, campaigns, fuzz, main

ALL = list(campaigns(""))


@pytest.mark.slow  # `.ci/run` and `make fuzz` give it minutes
@pytest.mark.parametrize("campaign", ALL, ids=[campaign.name for campaign in ALL])
def test_a_hundred_inputs_parse_or_blame_the_peer(campaign: Campaign) -> None:
    fuzz(campaign, seed=1, iterations=100, seconds=1.0)
    assert not campaign.failures


def test_what_escapes_a_decoder_fails_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fuzz_planted.py").write_text(
        "def decode(data):\n"
        "    if data[:1] == b'\\x07' and len(data) > 4:\n"
        "        raise KeyError('planted')\n"
        "TARGETS = {'decode': decode}\nSEEDS = {'decode': [b'\\x07abc']}\n"
    )
    monkeypatch.setattr(run, "FOLDER", tmp_path)
    assert main(["--iterations", "3000"]) == 1
    said = capsys.readouterr().out
    assert "FAIL planted.decode" in said
    assert "KeyError: 'planted'" in said


def test_a_run_is_repeated_by_its_seed() -> None:
    def inputs(seed: int) -> list[bytes]:
        taken: list[bytes] = []
        fuzz(Campaign("x", taken.append, [b"abc"]), seed, 200, 60.0)
        return taken

    assert inputs(5) == inputs(5) != inputs(6)


def test_no_target_is_an_error_of_the_caller(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "no such"]) == 2
    assert "no target matches 'no such'" in capsys.readouterr().err
