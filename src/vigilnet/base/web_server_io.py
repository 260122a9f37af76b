"""An nginx of our own on loopback: the web site behind a relay over HTX.

It ends with our process, however that ends: a shell waits for our pipe to close.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.base.system_io import has_rights

START_TIMEOUT_S: Final = 10.0
PAGE: Final = "<!doctype html><title>It works</title><p>An ordinary page.\n"
_SHELL: Final = '"$0" -c "$1" -p "$2" & pid=$!; cat >/dev/null; kill $pid; wait $pid'
_CONFIG: Final = """daemon off; worker_processes 1; {user}
pid "{folder}/nginx.pid"; error_log "{folder}/error.log";
events {{ worker_connections 2048; }}
http {{
  access_log off; server_tokens off;
  types {{ text/html html htm; text/css css; text/javascript js; image/png png; image/jpeg jpg jpeg;
    image/svg+xml svg; image/webp webp; image/x-icon ico; font/woff2 woff2; application/json json; }}
  client_body_temp_path "{folder}/b"; proxy_temp_path "{folder}/p";
  fastcgi_temp_path "{folder}/f"; uwsgi_temp_path "{folder}/u"; scgi_temp_path "{folder}/s";
  server {{
    listen 127.0.0.1:{port} ssl http2; root "{site}"; ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate "{chain}"; ssl_certificate_key "{key}";
  }}
}}
"""


class WebServer:
    """One nginx of ours, running; its constructor waits until it listens.

    Args:
        folder: for its own files; made if it is not there.
        chain: certificates in PEM, leaf first; `key` is the leaf's.
        site: the pages; made, with one page, if it is not there.

    Raises:
        EnvironmentRefusedError: nginx is missing, or does not start.
    """

    def __init__(self, folder: Path, chain: Path, key: Path, site: Path) -> None:
        _check_system()
        self._folder = folder
        program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
        if program is None:
            raise EnvironmentRefusedError("own web site: needs nginx; install it (nginx-light)")
        folder.mkdir(parents=True, exist_ok=True)
        if not site.exists():
            site.mkdir(parents=True)
            (site / "index.html").write_text(PAGE)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: Final = int(free.getsockname()[1])
        is_root = has_rights()
        config = folder / "nginx.conf"
        paths = {"folder": folder, "chain": chain.absolute(), "key": key.absolute(), "site": site.absolute()}
        if any(set(str(path)) & set('"\\{};$\n') for path in paths.values()):
            raise EnvironmentRefusedError("own web site: a path has a character that nginx cannot take")
        # its worker must stay root to read the folder
        config.write_text(_CONFIG.format(port=self.port, user="user root;" if is_root else "", **paths))
        (folder / "nginx.pid").unlink(missing_ok=True)
        with (folder / "nginx.log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 nginx with our own settings
                ["/bin/sh", "-c", _SHELL, program, str(config), str(folder)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def _wait(self) -> None:
        give_up = time.monotonic() + START_TIMEOUT_S  # noqa: TID251 started before any loop
        while self._process.poll() is None and time.monotonic() < give_up:  # noqa: TID251
            # It writes its number down once the port is its own: who else answers there is not asked.
            if (self._folder / "nginx.pid").exists():
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1.0):
                    return
            time.sleep(0.02)
        said = (self._folder / "nginx.log").read_text(errors="replace").strip()
        raise EnvironmentRefusedError(f"own web site: nginx does not start: {said or 'it said nothing'}")

    def reload(self) -> None:
        """Let it read its certificate again; connections that it has live on."""
        if sys.platform == "win32":
            return
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((self._folder / "nginx.pid").read_text()), signal.SIGHUP)

    def stop(self) -> None:
        """End it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _check_system() -> None:
    if sys.platform == "win32":
        raise EnvironmentRefusedError("own web site: not on Windows; name a server of yours as the origin")
