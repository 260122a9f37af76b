import os
import webbrowser
from pathlib import Path

import pytest

from vigilnet.surface.cli import desktop
from vigilnet.surface.cli.desktop import open_page, start_tray, write_page


def test_page_replaces_one_of_before_and_follows_no_link(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    (tmp_path / "dashboard.html").symlink_to(elsewhere)
    page = write_page(tmp_path, 'http://127.0.0.1:1/#token="<x>')
    assert elsewhere.read_text() == "mine"
    assert page.stat().st_mode & 0o777 == 0o600
    assert "<x>" not in page.read_text()


def test_without_a_screen_nothing_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert not open_page(tmp_path / "x.html", in_tab=False)


@pytest.mark.parametrize("ends_with", [0, 1])
def test_a_window_of_its_own_comes_before_a_tab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends_with: int
) -> None:
    seen = tmp_path / "seen"
    program = tmp_path / "chromium"
    program.write_text(f'#!/bin/sh\necho "$@" > {seen}\nexit {ends_with}\n')
    program.chmod(0o755)
    tabs: list[str] = []

    def tab(address: str) -> bool:
        tabs.append(address)
        return True

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DISPLAY", ":99")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(desktop, "BROWSERS", ("no-such-browser", "chromium"))
    monkeypatch.setattr(webbrowser, "open", tab)
    page = tmp_path / "dashboard.html"
    assert open_page(page, in_tab=False)
    assert seen.read_text() == f"--app={page.as_uri()}\n"
    assert tabs == ([] if ends_with == 0 else [page.as_uri()])


def test_desktop_without_a_tray_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dbus_fast", reason="the extra `desktop` is not installed")
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent/bus")
    assert start_tray(tmp_path) == "this desktop session has no D-Bus"
    assert all(tray.wait(60) == 1 for tray in desktop._OUTLIVING)
