import getpass
import io
import sys
from pathlib import Path

import pytest

from vigilnet.base.errors import ConfigurationError
from vigilnet.base.store_io import Store
from vigilnet.surface.passphrase import is_sealed, new_passphrase, passphrase_from


def typed(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    answers = iter(lines)
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    monkeypatch.setattr(getpass, "getpass", lambda _: next(answers))


def test_first_line_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_text(" correct horse \r\nsecond line\n")
    assert passphrase_from(file) == " correct horse "
    assert new_passphrase(file) == " correct horse "


@pytest.mark.parametrize("content", [b"", b"\nsecond\n", b"\xff\xfe\n"])
def test_file_without_a_passphrase_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "passphrase"
    with pytest.raises(ConfigurationError, match="cannot be read"):
        passphrase_from(file)
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=str(file)):
        passphrase_from(file)


def test_terminal_is_asked_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("secret\n"))
    assert passphrase_from(None) is None
    with pytest.raises(ConfigurationError, match="none given"):
        new_passphrase(None)
    typed(monkeypatch, "secret")
    assert passphrase_from(None) == "secret"


def test_new_passphrase_is_typed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    typed(monkeypatch, "secret", "secret")
    assert new_passphrase(None) == "secret"
    typed(monkeypatch, "secret", "sceret")
    with pytest.raises(ConfigurationError, match="differ"):
        new_passphrase(None)
    typed(monkeypatch, "")
    with pytest.raises(ConfigurationError, match="none given"):
        new_passphrase(None)


@pytest.mark.slow
def test_sealed_folder_is_known_without_touching_it(tmp_path: Path) -> None:
    assert not is_sealed(tmp_path / "none")
    store = Store(tmp_path / "state")
    store.lock()
    assert not is_sealed(store.folder)
    store.set_passphrase("secret")
    assert is_sealed(store.folder)
    store.close()
