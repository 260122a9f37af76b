from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_node import FakeHost, FakeNode, served
from vigilnet.node.status import PathStatus
from vigilnet.surface.cli.main import main


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[str]:
    with served(tmp_path):
        yield str(tmp_path)


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main(list(words)) == code
    return capsys.readouterr().out


def test_circuits_are_shown_by_app(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "circuits", "--state-folder", folder).splitlines() == [
        "APP      PATH                                  MS  AGE     CONNECTIONS  ID",
        "firefox  DE guard 18 ms > NL middle > SE exit  84  12m00s           19   1",
        "(ready)  DE guard 18 ms > NL middle > SE exit  97  40s               0   3",
    ]
    text = said(capsys, "circuits", "--why", "--id", "--state-folder", folder)
    assert "1: The entry is one of few that are kept" in text
    assert "3: 12D3KooWguard > 12D3KooWmiddle > 12D3KooWexit" in text


def test_streams(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "streams", "--state-folder", folder)
    assert " 5        1  open   2s   100 B  20.0 kB   example.org:443" in text


def test_one_path_with_who_sees_what(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "paths", "--state-folder", folder)
    assert text.startswith("you > DE guard 18 ms > NL middle > SE exit > sites\n")
    assert "exit exit      SE       which sites are visited" in text
    assert "network  yes           -            -" in text
    assert said(capsys, "paths", "77", "--state-folder", folder, code=9) == "no path 77\n"


def test_one_hop_says_who_knows_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class OneHop(FakeNode):
        def paths(self) -> list[PathStatus]:
            path = super().paths()[0]
            return [PathStatus(1, "", False, False, 1.0, 1, 20.0, path.hops[-1:])]

    with served(tmp_path, OneHop()):
        assert "knows both you and the sites" in said(capsys, "paths", "--state-folder", str(tmp_path))


def test_peers_say_why(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "peers", "--state-folder", folder).splitlines() == [
        "PEER      COUNTRY  LINK    MS  ROLES         FOUND BY         WHY",
        "guard     DE       direct  18  relay, guard  invites, gossip  Answers over HTX.",
        "stranger  SE       failed   -  relay, exit   mdns             It did not answer. Next try in 8 s.",
    ]


def test_nothing_to_show_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Idle(FakeNode):
        def paths(self) -> list[PathStatus]:
            return []

        def streams(self) -> tuple[()]:
            return ()

        def peers(self) -> tuple[()]:
            return ()

        def exits(self, country: str = "", port: int = 0) -> tuple[()]:
            return ()

    with served(tmp_path, Idle()):
        for command, words in (
            ("circuits", "no path is in use"), ("paths", "no path is in use"), ("streams", "no streams"),
            ("peers", "no relays known: give the node an invite (vigilnet invite add)"),
            ("exits", "no exits known yet"),
        ):  # fmt: skip
            assert said(capsys, command, "--state-folder", str(tmp_path)) == f"{words}\n"


def test_exits_and_their_choice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    host = FakeHost(FakeNode(), tmp_path / "x.toml")
    with served(tmp_path, host=host):
        text = said(capsys, "exits", "--country", "se", "--state-folder", str(tmp_path))
        assert "exit      SE       80,443  in use" in text
        said(capsys, "exits", "use", "--country", "JP", "--once", "--state-folder", str(tmp_path))
        assert "yours: JP" in said(capsys, "exits", "--state-folder", str(tmp_path))
        said(capsys, "exits", "use", "--anywhere", "--state-folder", str(tmp_path))
    assert [change[0]["circuits.exit_country"] for change in host.changes] == ["JP", ""]
    assert [keep for _, keep in host.changes] == [False, True]


def test_no_exit_says_why_and_what_next(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["exits", "--country", "JP", "--port", "6667", "--state-folder", folder]) == 9
    assert capsys.readouterr().err.splitlines() == [
        "vigilnet: no exit in Japan allows port 6667",
        "  why   known in Japan: 1 exit, for 80,443",
        "  next  vigilnet exits --port 6667",
    ]


def test_new_path_is_for_the_app_in_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = FakeNode()
    with served(tmp_path, node):
        assert "another path" in said(capsys, "new-path", "--state-folder", str(tmp_path))
        said(capsys, "new-path", "9", "--state-folder", str(tmp_path), code=9)
    assert node.retired == [1, 9]


def test_one_relay_is_looked_for(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "peers", "--state-folder", folder, "--find", "12D3KooWstranger")
    assert text.splitlines()[1].startswith("stranger  SE       failed")
    assert said(capsys, "peers", "--state-folder", folder, "--find", "12D3KooWnobody") == "not found\n"
