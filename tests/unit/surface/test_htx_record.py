"""`vigilnet htx record` with a real browser and a real server."""

from pathlib import Path

import pytest

from tests.support.needs import needs_programs
from tests.support.origins import HOST, make_certificates, nginx
from vigilnet.base.errors import ConfigurationError
from vigilnet.surface.htx_capture import main
from vigilnet.traffic.transport.htx.recordings import Recordings
from vigilnet.traffic.transport.htx.templates_io import load_visits


@pytest.mark.parametrize(
    "arguments", [["--origin", "nowhere"], ["--origin", "host:0"], ["--visits", "0"], ["--parallel", "0"]]
)
def test_what_cannot_be_is_refused(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["record", "site.test", "--output", str(tmp_path / "out"), *arguments]) == 2
    assert "--" in capsys.readouterr().err


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["record", "site.test", "--output", str(tmp_path)]) == 2
    assert "nothing is overwritten" in capsys.readouterr().err


@pytest.mark.slow
@needs_programs("chromium", "nginx")
def test_visits_of_a_real_browser_are_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_certificates(tmp_path)
    output = tmp_path / "site.visits"
    with nginx(tmp_path) as port:
        site = tmp_path / "site"
        (site / "index.html").write_text("".join(f"<img src=/p{at}.jpg>" for at in range(12)))
        for at in range(12):
            (site / f"p{at}.jpg").write_bytes(bytes(3000 + 900 * at))
        arguments = ["record", HOST, "--origin", f"127.0.0.1:{port}", "--page", "/", "--any-certificate"]
        arguments += ["--visits", "3", "--parallel", "3", "--output", str(output)]
        assert main(arguments) == 0
    assert "visits" in capsys.readouterr().out
    found = load_visits(output)
    assert 1 <= len(found) <= 3
    recordings = Recordings(found)
    assert recordings.tickets == 2
    assert 440 < recordings.request < 4000
    assert found[0].events[0].length == 87 or found[0].events[0].way < 0


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_visits(empty)
    empty.write_text("\n")
    with pytest.raises(ConfigurationError, match="no visit"):
        load_visits(empty)
