import asyncio
from pathlib import Path

from vigilnet.base.clock import SystemClock
from vigilnet.base.http.service import HttpServer
from vigilnet.surface.control.dashboard_files import POLICY, dashboard_routes


def get(folder: Path, *paths: str, headers: str = "") -> list[tuple[int, str]]:
    async def main() -> list[tuple[int, str]]:
        server = HttpServer([dashboard_routes(folder)], SystemClock())
        port = await server.listen("127.0.0.1", 0)
        answers = []
        for path in paths:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"
            writer.write(head.encode())
            answer = (await reader.read()).decode()
            answers.append((int(answer.split()[1]), answer))
            writer.close()
        await server.close()
        return answers

    return asyncio.run(main())


def test_files_are_served_by_their_names_under_a_strict_policy(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html>")
    (tmp_path / "assets" / "app-1a2b.js").write_text("run()")
    (tmp_path / "secret.key").write_text("secret")
    root, index, script = get(
        tmp_path, "/dashboard/", "/dashboard/index.html", "/dashboard/assets/app-1a2b.js"
    )
    assert root[0] == index[0] == script[0] == 200
    assert POLICY in root[1]
    assert "no-store" in root[1]
    assert "immutable" in script[1]
    assert "text/javascript" in script[1]


def test_nothing_else_is_served(tmp_path: Path) -> None:
    folder = tmp_path / "built"
    folder.mkdir()
    (folder / "index.html").write_text("<!doctype html>")
    (folder / "notes.txt").write_text("not for the web")
    (tmp_path / "secret.json").write_text("{}")
    for status, _ in get(
        folder, "/dashboard/notes.txt", "/dashboard/../secret.json", "/dashboard/%2e%2e/secret.json",
        "/dashboard/assets", "/dashboard", "/dashboard//index.html",
    ):  # fmt: skip
        assert status == 404


def test_a_person_may_come_from_elsewhere_but_no_other_site_may_ask(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<!doctype html>")

    def status(mode: str, dest: str) -> int:
        headers = f"Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: {mode}\r\nSec-Fetch-Dest: {dest}\r\n"
        return get(tmp_path, "/dashboard/", headers=headers)[0][0]

    assert status("navigate", "document") == 200
    assert status("navigate", "iframe") == 403
    assert status("no-cors", "script") == 403
    assert status("cors", "empty") == 403


def test_package_without_a_built_dashboard_serves_none(tmp_path: Path) -> None:
    assert get(tmp_path / "missing", "/dashboard/")[0][0] == 404
