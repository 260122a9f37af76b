"""An authority that speaks ACME, on loopback: Debian's pebble, for whom every name is 127.0.0.1."""

import contextlib
import json
import ssl
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.origins import make_certificates, running, wait_for_port
from tests.support.ports import free_port


@dataclass(frozen=True)
class Authority:
    """Where it is asked, and whom to believe."""

    directory: str
    api_roots: Path  # of its own interface
    root: bytes  # of what it issues, PEM


@contextlib.contextmanager
def authority(folder: Path, visited_port: int) -> Iterator[Authority]:
    """Run one that looks for proofs at this port of 127.0.0.1, whatever the name."""
    folder.mkdir()
    make_certificates(folder, "localhost")
    port, management, names, control = (free_port() for _ in range(4))
    settings = {
        "listenAddress": f"127.0.0.1:{port}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": "chain.pem",
        "privateKey": "key.pem",
        "httpPort": 1,
        "tlsPort": visited_port,
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": settings}))
    resolver = [
        "pebble-challtestsrv", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-http01", "", "-https01", "",
        "-tlsalpn01", "", "-dns01", f"127.0.0.1:{names}", "-management", f"127.0.0.1:{control}",
    ]  # fmt: skip
    server = [
        "env", "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0", "PEBBLE_AUTHZREUSE=0",
        "pebble", "-config", "pebble.json", "-dnsserver", f"127.0.0.1:{names}",
    ]  # fmt: skip
    with running(resolver, control, folder) as answers, running(server, port, folder) as serves:
        wait_for_port(names, answers)  # each opens its ports one after the other
        wait_for_port(management, serves)
        context = ssl.create_default_context(cafile=folder / "root.pem")
        with urllib.request.urlopen(
            f"https://localhost:{management}/roots/0", timeout=30, context=context
        ) as answer:
            root = answer.read()
        yield Authority(f"https://localhost:{port}/dir", folder / "root.pem", root)
