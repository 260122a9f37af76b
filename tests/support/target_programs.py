"""Well-known servers at the target of a test network: https with git, and HTTP/3 beside it."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.netns import Namespace, wait_for_port
from tests.support.nodes import SUPPORT, Network
from tests.support.origins import make_certificates

HTTPS_PORT = 443
NAME = "site.test"  # as tests/support/dns_server.py knows it
NGINX = """
user root; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 256; }}
http {{
  access_log off; client_body_temp_path {folder}/b; fastcgi_temp_path {folder}/f;
  proxy_temp_path {folder}/p; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  client_max_body_size 0;
  server {{
    listen 443 ssl http2; listen [::]:443 ssl http2;
    ssl_certificate {folder}/chain.pem; ssl_certificate_key {folder}/key.pem;
    root {site};
    location ~ ^/git(/.*)$ {{
      fastcgi_pass unix:{folder}/fcgi.sock;
      fastcgi_param SCRIPT_FILENAME {backend}; fastcgi_param PATH_INFO $1;
      fastcgi_param GIT_PROJECT_ROOT {site}; fastcgi_param GIT_HTTP_EXPORT_ALL 1;
      fastcgi_param GIT_CONFIG_COUNT 1;
      fastcgi_param GIT_CONFIG_KEY_0 safe.directory; fastcgi_param GIT_CONFIG_VALUE_0 *;
      fastcgi_param QUERY_STRING $query_string; fastcgi_param REQUEST_METHOD $request_method;
      fastcgi_param CONTENT_TYPE $content_type; fastcgi_param CONTENT_LENGTH $content_length;
      fastcgi_param HTTP_CONTENT_ENCODING $http_content_encoding;
    }}
  }}
}}
"""


@dataclass(frozen=True)
class Https:
    """A site that speaks HTTP/1.1, 2 and 3, and git's smart protocol below /git."""

    folder: Path

    @property
    def root(self) -> Path:
        """The authority to trust."""
        return self.folder / "root.pem"

    @property
    def key_hash(self) -> str:
        """What Chromium wants to know of a certificate that it shall accept, for QUIC above all."""
        words = (
            f"openssl x509 -in {self.folder}/chain.pem -pubkey -noout | openssl pkey -pubin -outform der"
            " | openssl dgst -sha256 -binary | openssl enc -base64"
        )
        done = subprocess.run(["sh", "-c", words], capture_output=True, text=True, check=True)
        return done.stdout.strip()


def start_https(network: Network) -> Https:
    """Start nginx with fcgiwrap, and a server of HTTP/3 on the same port."""
    folder = network.folder / "https"
    folder.mkdir()
    made = Https(folder)
    make_certificates(folder, NAME)
    (network.folder / "site" / "page.html").write_text(
        "<!doctype html><title>local</title><p id=said>quiet</p>"
        "<script>fetch('page.txt').then(got => got.text())"
        ".then(text => document.getElementById('said').textContent = 'script ' + text)</script>\n"
    )
    target, site = network.target, network.folder / "site"
    run_path = subprocess.run(
        ["git", "--exec-path"], capture_output=True, text=True, check=True
    ).stdout.strip()
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, site=site, backend=f"{run_path}/git-http-backend"))
    target.start("fcgiwrap", "-s", f"unix:{folder}/fcgi.sock")
    target.start(_found(target, "nginx"), "-c", config)
    target.start(
        sys.executable,
        SUPPORT / "http3_server.py",
        HTTPS_PORT,
        folder / "chain.pem",
        folder / "key.pem",
        site,
    )
    wait_for_port(target, target.v4, HTTPS_PORT)
    return made


def _found(host: Namespace, program: str) -> str:
    return host.run("sh", "-c", f"command -v {program} || echo /usr/sbin/{program}").stdout.strip()
