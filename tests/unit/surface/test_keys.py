import json
import stat
from pathlib import Path

import pytest

from tests.support.fake_node import served
from vigilnet.peer.identity import Identity
from vigilnet.surface import keys


@pytest.fixture(autouse=True)
def keep_core_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "forbid_core_dumps", lambda: None)


def test_generated_key_is_shown_and_travels_by_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, file = str(tmp_path / "a"), str(tmp_path / "b"), str(tmp_path / "key.pb")
    assert keys.main(["generate", "--state-folder", first]) == 0
    peer_id = capsys.readouterr().out.strip()
    assert peer_id.startswith("12D3KooW")
    assert keys.main(["show", "--state-folder", first]) == 0
    assert keys.main(["export", "--state-folder", first, file]) == 0
    assert keys.main(["show", file]) == 0
    assert keys.main(["import", "--state-folder", second, file]) == 0
    assert keys.main(["show", "--state-folder", second]) == 0
    assert capsys.readouterr().out.split() == [peer_id] * 5
    assert stat.S_IMODE(Path(file).stat().st_mode) == 0o600
    assert Identity.from_libp2p_protobuf(Path(file).read_bytes()).peer_id == peer_id


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "key.pb"
    assert keys.main(["generate", str(file), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["file"] == str(file)
    assert answer["peer_id"] == Identity.from_libp2p_protobuf(file.read_bytes()).peer_id


def test_nothing_is_ever_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, file = str(tmp_path / "a"), tmp_path / "key.pb"
    keys.main(["generate", "--state-folder", folder])
    keys.main(["generate", str(file)])
    before = file.read_bytes()
    for arguments in (
        ["generate", "--state-folder", folder],
        ["import", "--state-folder", folder, str(file)],
    ):
        assert keys.main(arguments) == 1
        assert "holds an identity already" in capsys.readouterr().err
    for arguments in (["generate", str(file)], ["export", "--state-folder", folder, str(file)]):
        assert keys.main(arguments) == 1
        assert "is not overwritten" in capsys.readouterr().err
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"", b"-----BEGIN", bytes(68), bytes.fromhex("08011240") + bytes(64), bytes(2000)]
)
def test_wrong_key_file_is_one_line_and_makes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    file = tmp_path / "key.pb"
    file.write_bytes(content)
    assert keys.main(["import", "--state-folder", str(tmp_path / "state"), str(file)]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"vigilnet: key file {file}: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "state").exists()


def test_missing_things_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert keys.main(["show", "--state-folder", str(tmp_path / "none")]) == 2
    assert "holds no identity" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    (tmp_path / "empty").mkdir()
    assert keys.main(["show", "--state-folder", str(tmp_path / "empty")]) == 2
    assert keys.main(["import", str(tmp_path / "none.pb")]) == 1
    assert "No such file" in capsys.readouterr().err


def test_running_node_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with served(tmp_path):  # a client: it has no identity
        assert keys.main(["show", "--state-folder", str(tmp_path)]) == 2
    assert "has no identity" in capsys.readouterr().err


@pytest.mark.slow  # the stretching of four passphrases
def test_sealed_folder_opens_with_its_passphrase_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, old, new = str(tmp_path / "a"), tmp_path / "old", tmp_path / "new"
    old.write_text("old one\n")
    new.write_text("new one\n")
    keys.main(["generate", "--state-folder", folder])
    peer_id = capsys.readouterr().out
    assert keys.main(["protect", "--state-folder", folder, "--new-passphrase-file", str(old)]) == 0
    assert (tmp_path / "a" / "keys").read_bytes().startswith(b"VIGILNET SEALED")
    change = [
        "protect",
        "--state-folder",
        folder,
        "--passphrase-file",
        str(old),
        "--new-passphrase-file",
        str(new),
    ]
    assert keys.main([*change, "--json"]) == 0
    assert '"sealed":true}' in capsys.readouterr().out
    assert keys.main(["show", "--state-folder", folder, "--passphrase-file", str(old)]) == 2
    assert "wrong passphrase" in capsys.readouterr().err
    assert keys.main(["show", "--state-folder", folder]) == 2
    assert "a passphrase is needed" in capsys.readouterr().err
    assert keys.main(["show", "--state-folder", folder, "--passphrase-file", str(new)]) == 0
    assert capsys.readouterr().out == peer_id
