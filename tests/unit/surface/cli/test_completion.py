import shutil
import subprocess
from pathlib import Path

import pytest

from vigilnet.surface.cli.completion import SHELLS, script
from vigilnet.surface.cli.main import main, new_parser


@pytest.mark.parametrize("shell", SHELLS)
def test_script_knows_commands_and_options(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert "new-identity" in text
    assert "state-folder" in text


def completed(tmp_path: Path, *words: str) -> list[str]:
    """What bash offers for the last of the words."""
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    file = tmp_path / "vigilnet.bash"
    file.write_text(script(new_parser(), "bash"))
    typed = " ".join(f'"{word}"' for word in ("vigilnet", *words))
    words_of = f"COMP_WORDS=({typed}); COMP_CWORD={len(words)}"
    ask = f'source {file}; {words_of}; _vigilnet; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True, cwd=tmp_path)
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [(("stat",), ["status"]), (("config", "s"), ["set"]), (("config", "set", "--onc"), ["--once"]),
     (("mode", "boot"), ["bootstrap"]), (("exits", "--cou"), ["--country"]),
     (("new-",), ["new-path", "new-identity"])],
)  # fmt: skip
def test_bash_offers_what_fits(tmp_path: Path, words: tuple[str, ...], offered: list[str]) -> None:
    assert sorted(completed(tmp_path, *words)) == sorted(offered)
