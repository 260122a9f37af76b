import argparse
from pathlib import Path

import pytest

from tests.support.fake_node import FakeNode, served
from vigilnet.surface.cli import top
from vigilnet.surface.cli.main import main
from vigilnet.surface.control import models
from vigilnet.surface.control.client import ControlClient
from vigilnet.surface.control.schema import plain


@pytest.fixture
def view(tmp_path: Path) -> top.View:
    with served(tmp_path), ControlClient(tmp_path) as control:
        return top._first_look(control)


def press(view: top.View, keys: str) -> bool:
    return all(top.press(view, ord(key), argparse.Namespace()) for key in keys)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 60), (20, 8), (1, 1)])
@pytest.mark.parametrize("fancy", [True, False])
def test_screen_fits_and_shows_the_state(view: top.View, width: int, height: int, fancy: bool) -> None:
    lines = top.screen(view, width, height, fancy=fancy)
    assert len(lines) == height
    assert max(map(len, lines)) <= width
    if height > 1:
        assert "Only some apps are protected"[: max(0, width - 2)] in lines[0]
    assert fancy or all(line.isascii() for line in lines)


def test_tabs_show_apps_peers_paths_and_log(view: top.View) -> None:
    shown = []
    for key in "1234":
        press(view, key)
        shown.append("\n".join(top.screen(view, 120, 40, fancy=False)))
    assert "firefox" in shown[0]
    assert "example.org:443" in shown[0]
    assert "Answers over HTX." in shown[1]
    assert "sees which sites are visited; not your address" in shown[2]
    press(view, "\t")
    assert view.tab == 0


def test_filter_keeps_what_is_typed(view: top.View) -> None:
    assert press(view, "2/stran")
    screen = "\n".join(top.screen(view, 120, 30, fancy=False))
    assert "stranger" in screen
    assert "Answers over HTX." not in screen
    assert screen.endswith("/stran_")
    press(view, "\n")
    assert not view.typing
    assert not press(view, "q")


def test_events_are_taken_in(view: top.View) -> None:
    for second in range(100):
        view.take("traffic", plain(models.TrafficSample(second, 2e6, 1e6)))
        view.take("log", plain(models.LogLine(second, 1.0, "info", "vigilnet.x", f"line {second}")))
    view.take("weather", {})
    assert len(view.samples) == 60
    view.tab = 3
    screen = top.screen(view, 100, 24, fancy=True)
    assert "2.0 Mbit/s in, 1.0 Mbit/s out" in "\n".join(screen)
    assert any("line 99" in line for line in screen)
    view.is_lost = True
    assert "does not answer" in top.screen(view, 100, 24, fancy=True)[0]


def test_actions_answer_in_the_last_line(tmp_path: Path) -> None:
    with served(tmp_path):
        arguments = argparse.Namespace(state_folder=tmp_path, config=None)
        view = top.View()
        assert top.press(view, ord("c"), arguments)
        assert view.said == "is on already"
        top.press(view, ord("n"), arguments)
        assert "there is none" in view.said


def test_without_a_terminal_it_prints_one_screen_or_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with served(tmp_path, FakeNode()):
        assert main(["top", "--once", "--state-folder", str(tmp_path)]) == 0
        assert "Only some apps" in capsys.readouterr().out
        assert main(["top", "--state-folder", str(tmp_path)]) == 1
        assert "vigilnet top --once" in capsys.readouterr().err


def test_a_row_is_chosen_opened_and_its_id_copied(view: top.View) -> None:
    press(view, "2")
    lines = top.screen(view, 120, 40, fancy=False)
    assert [line[2:10] for line in lines if line.startswith(">")] == ["guard   "]
    assert press(view, "j")
    assert press(view, "y")
    assert view.said == "copied, if the terminal allows: 12D3KooWstranger"
    press(view, "\n")
    opened = "\n".join(top.screen(view, 120, 40, fancy=False))
    assert "found by  mdns" in opened
    assert "Answers over HTX" not in opened
    press(view, "\x1bk\n")
    assert "HTX 192.0.2.1:443" in "\n".join(top.screen(view, 120, 40, fancy=False))
    top.press(view, 258, argparse.Namespace())
    top.press(view, 258, argparse.Namespace())
    assert view.at == 1, "no further than the last"
    press(view, "4y")
    assert view.said == "nothing to copy"


def test_chosen_row_stays_in_sight(view: top.View) -> None:
    press(view, "2")
    view.peers = view.peers * 40
    for _ in range(60):
        press(view, "j")
    assert any(line.startswith(">") for line in top.screen(view, 100, 24, fancy=False))
