"""State on disk: ours alone, whole or not at all, sealed on wish, gone after a wipe."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from vigilnet.base import store_io
from vigilnet.base.errors import ConfigurationError, EnvironmentRefusedError, LocalProtocolError
from vigilnet.base.store_io import Store, write_file

LOCK = "vigilnet.lock"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "deep" / "state")


@pytest.fixture(autouse=True)
def quick_passphrases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_io, "_KDF_MEMORY_KIB", 64)


def names_in(store: Store) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir())


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folder_and_files_are_ours_alone(store: Store) -> None:
    store.write_atomic("keys", b"secret")
    assert mode_of(store.folder) == 0o700
    assert mode_of(store.folder / "keys") == 0o600
    assert store.read("keys") == b"secret"
    assert store.read("nothing") is None
    assert store.names() == ["keys"]


def test_a_folder_open_to_others_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    Store(tmp_path)
    assert mode_of(tmp_path) == 0o700


def test_a_folder_with_other_things_in_it_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis").write_bytes(b"precious")
    tmp_path.chmod(0o755)
    with pytest.raises(EnvironmentRefusedError, match="choose an empty folder"):
        Store(tmp_path)
    assert mode_of(tmp_path) == 0o755


def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(EnvironmentRefusedError, match="another user"):
        Store(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EnvironmentRefusedError, match=r"file.*check rights"):
        Store(tmp_path / "file" / "state")


def test_second_instance_is_told_who_has_the_folder(store: Store) -> None:
    store.lock()
    store.lock()
    with pytest.raises(EnvironmentRefusedError, match=f"in use by process {os.getpid()}, stop it"):
        Store(store.folder).lock()
    store.close()
    store.close()
    second = Store(store.folder)
    second.lock()
    second.close()


def test_lock_of_a_dead_process_is_free(store: Store) -> None:
    script = "import sys;from pathlib import Path;from vigilnet.base.store_io import Store;import os\n"
    script += "Store(Path(sys.argv[1])).lock();os._exit(9)"
    subprocess.run([sys.executable, "-c", script, str(store.folder)], check=False)
    assert (store.folder / LOCK).read_bytes()
    store.lock()
    store.close()


def test_failed_write_keeps_the_old_content(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write_atomic("keys", b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EnvironmentRefusedError, match="No space left on device"):
        store.write_atomic("keys", b"new")
    assert store.read("keys") == b"old"
    assert names_in(store) == ["keys", LOCK]


def test_what_a_crash_left_is_cleared_at_the_next_lock(store: Store) -> None:
    (store.folder / ".partial-00").write_bytes(b"half")
    assert store.names() == []
    store.lock()
    assert names_in(store) == [LOCK]
    store.close()


@pytest.mark.parametrize(
    "name", ["", "../x", "a/b", ".hidden", "A", LOCK, "passphrase", "x" * 101, "a\n", "x.sqlite3"]
)
def test_names_stay_inside_the_folder(store: Store, name: str) -> None:
    with pytest.raises(LocalProtocolError):
        store.write_atomic(name, b"")
    with pytest.raises(LocalProtocolError):
        store.read(name)


def test_links_are_not_followed(store: Store, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    (store.folder / "keys").symlink_to(outside)
    with pytest.raises(EnvironmentRefusedError):
        store.read("keys")
    store.write_atomic("keys", b"new")
    assert outside.read_bytes() == b"precious"
    (store.folder / "other").symlink_to(outside)
    store.remove("other")
    assert outside.read_bytes() == b"precious"


def test_remove(store: Store) -> None:
    store.write_atomic("keys", b"secret")
    store.remove("keys")
    store.remove("keys")
    assert store.read("keys") is None


def test_removed_content_is_overwritten(store: Store, tmp_path: Path) -> None:
    store.write_atomic("keys", b"secret" * 1000)
    os.link(store.folder / "keys", tmp_path / "second-name")
    store.remove("keys")
    assert b"secret" not in (tmp_path / "second-name").read_bytes()


def test_files_have_a_limit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_io, "MAX_FILE_SIZE", 3)
    store.write_atomic("a", b"123")
    assert store.read("a") == b"123"
    store.write_atomic("a", b"1234")
    with pytest.raises(EnvironmentRefusedError, match="over 3 octets"):
        store.read("a")


def test_passphrase_seals_what_was_there_and_what_comes(store: Store) -> None:
    store.write_atomic("old", b"secret one")
    store.set_passphrase("correct horse")
    store.write_atomic("new", b"secret two")
    for name in ("old", "new"):
        assert b"secret" not in (store.folder / name).read_bytes()
    assert (store.read("old"), store.read("new")) == (b"secret one", b"secret two")
    again = Store(store.folder)
    assert again.is_sealed
    with pytest.raises(LocalProtocolError, match="before unlock"):
        again.read("old")
    with pytest.raises(LocalProtocolError, match="before unlock"):
        again.set_passphrase("x")
    with pytest.raises(ConfigurationError, match="a passphrase is needed"):
        again.unlock(None)
    with pytest.raises(ConfigurationError, match="wrong passphrase"):
        again.unlock("correct house")
    again.unlock("correct horse")
    assert again.read("old") == b"secret one"
    again.set_passphrase("changed")
    third = Store(store.folder)
    with pytest.raises(ConfigurationError, match="wrong passphrase"):
        third.unlock("correct horse")
    third.unlock("changed")
    assert third.read("new") == b"secret two"


def test_passphrase_for_a_plain_folder_is_refused_and_none_is_fine(store: Store) -> None:
    store.unlock(None)
    with pytest.raises(ConfigurationError, match="no passphrase yet"):
        store.unlock("x")
    with pytest.raises(ConfigurationError, match="empty"):
        store.set_passphrase("")


def test_a_crash_while_sealing_loses_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        store.write_atomic(name, name.encode())
    writes: list[Path] = []
    real = write_file

    def dying(path: Path, content: bytes, mode: int = 0o600) -> None:
        if len(writes) == 2:  # the header and the first file are written
            raise EnvironmentRefusedError("power cut")
        writes.append(path)
        real(path, content, mode)

    monkeypatch.setattr(store_io, "write_file", dying)
    with pytest.raises(EnvironmentRefusedError, match="power cut"):
        store.set_passphrase("secret")
    monkeypatch.setattr(store_io, "write_file", real)
    assert not list(store.folder.glob(".partial-*"))
    again = Store(store.folder)
    again.unlock("secret")
    assert [again.read(name) for name in ("a", "b", "c")] == [b"a", b"b", b"c"]
    assert all((store.folder / name).read_bytes().startswith(b"VIGILNET SEALED") for name in "abc")


def test_files_of_other_rooms_are_not_sealed_with_the_state(store: Store) -> None:
    """A directory's table is SQLite's, which would not open it any more."""
    kept = {name: name.encode() for name in ("directory.sqlite3", "status.token", "node.log")}
    for name, content in kept.items():
        (store.folder / name).write_bytes(content)
    store.write_atomic("keys", b"secret")
    store.set_passphrase("secret")
    assert store.names() == ["keys"]
    assert {name: (store.folder / name).read_bytes() for name in kept} == kept


def test_sealing_overwrites_what_was_in_the_files(store: Store) -> None:
    store.write_atomic("keys", b"old secret")
    with (store.folder / "keys").open("rb") as old:
        store.set_passphrase("secret")
        assert os.fstat(old.fileno()).st_nlink == 0
        assert len(left := old.read()) == len(b"old secret")
        assert left != b"old secret"
    assert names_in(store) == sorted(["keys", "passphrase", LOCK])
    assert store.read("keys") == b"old secret"


def test_a_crash_between_the_second_name_and_the_sealed_file_costs_no_state(store: Store) -> None:
    store.write_atomic("keys", b"live")
    (store.folder / ".partial-0").hardlink_to(store.folder / "keys")
    (store.folder / ".partial-1").write_bytes(b"left")
    with (store.folder / ".partial-1").open("rb") as left:
        store.lock()
        assert left.read() != b"left"
    assert names_in(store) == sorted(["keys", LOCK])
    assert store.read("keys") == b"live"
    store.close()


def test_a_disk_without_second_names_is_sealed_too(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no links here")

    store.write_atomic("keys", b"live")
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    store.set_passphrase("secret")
    assert (store.folder / "keys").read_bytes().startswith(b"VIGILNET SEALED")
    assert store.read("keys") == b"live"


def test_sealed_files_cannot_be_changed_swapped_or_replaced(store: Store) -> None:
    store.write_atomic("a", b"content a")
    store.write_atomic("b", b"content b")
    store.set_passphrase("secret")
    raw = (store.folder / "a").read_bytes()
    for broken in (
        raw[:-1],
        raw[:-1] + bytes([raw[-1] ^ 1]),
        b"plain",
        raw[:20],
        (store.folder / "b").read_bytes(),
    ):
        (store.folder / "a").write_bytes(broken)
        with pytest.raises(EnvironmentRefusedError, match="seal is broken"):
            store.read("a")


def test_without_its_header_a_sealed_file_is_no_plain_one(store: Store) -> None:
    store.write_atomic("a", b"content")
    store.set_passphrase("secret")
    (store.folder / "passphrase").unlink()
    with pytest.raises(EnvironmentRefusedError, match="seal is broken"):
        Store(store.folder).read("a")


def test_damaged_header_is_named(store: Store) -> None:
    store.set_passphrase("secret")
    (store.folder / "passphrase").write_bytes(b"short")
    with pytest.raises(EnvironmentRefusedError, match="damaged"):
        Store(store.folder).unlock("secret")


def test_wipe_leaves_nothing_but_the_lock(store: Store, tmp_path: Path) -> None:
    store.lock()
    store.write_atomic("keys", b"secret")
    store.set_passphrase("secret")
    (store.folder / "sub").mkdir()
    (store.folder / "sub" / LOCK).write_bytes(b"x")
    (store.folder / "read-only").write_bytes(b"x")
    (store.folder / "read-only").chmod(0o400)
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    (store.folder / "link").symlink_to(outside)
    assert store.wipe() == 4
    assert names_in(store) == [LOCK]
    assert outside.read_bytes() == b"precious"
    store.close()


def test_public_files_may_be_read_by_others(tmp_path: Path) -> None:
    write_file(tmp_path / "x.record", b"content", 0o644)
    assert mode_of(tmp_path / "x.record") == 0o644
