"""Whether programs ask for names themselves on this machine, or a service does it for them."""

from ipaddress import ip_address
from pathlib import Path

_NSSWITCH, _RESOLV_CONF = Path("/etc/nsswitch.conf"), Path("/etc/resolv.conf")
_RESOLVED, _NSCD = Path("/run/systemd/resolve/io.systemd.Resolve"), Path("/run/nscd/socket")


def asks_instead(
    *,
    has_redirect: bool,
    nsswitch: Path = _NSSWITCH,
    resolv_conf: Path = _RESOLV_CONF,
    resolved: Path = _RESOLVED,
    nscd: Path = _NSCD,
) -> str:
    """Return what asks for names in place of a program that was started here; empty if it asks itself.

    Questions that go through a service's own socket cannot be told apart by who asked it.

    Args:
        has_redirect: whether questions to a server on loopback can be taken.
        nsswitch: how the C library looks names up.
        resolv_conf: whom it asks.
        resolved: where systemd-resolved is asked beside port 53.
        nscd: where the C library's own cache is.
    """
    if nscd.exists():
        return "nscd"
    if "resolve" in _words(nsswitch, "hosts:") and resolved.exists():
        return "systemd-resolved (nss-resolve)"
    servers = _words(resolv_conf, "nameserver")
    if not has_redirect and servers and all(map(_is_loopback, servers)):
        return f"the resolver at {servers[0]}"
    return ""


def _words(file: Path, first: str) -> list[str]:
    """Return what follows `first` on the lines that begin with it."""
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        return []
    return [word for line in lines if line.split()[:1] == [first] for word in line.split()[1:]]


def _is_loopback(text: str) -> bool:
    try:
        return ip_address(text).is_loopback
    except ValueError:
        return False
