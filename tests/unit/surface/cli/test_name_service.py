"""Who asks for names on a machine, for each way of setting one up."""

from pathlib import Path

import pytest

from vigilnet.surface.cli.name_service import asks_instead

PLAIN = "passwd: files\nhosts: files mymachines dns\n"
RESOLVE = "hosts: files resolve [!UNAVAIL=return] dns\n"
STUB = "nameserver 127.0.0.53\n"


@pytest.mark.parametrize(
    ("nsswitch", "resolv_conf", "there", "has_redirect", "asks"),
    [
        (PLAIN, "nameserver 192.0.2.53\n", (), True, ""),
        (PLAIN, STUB, ("resolved",), True, ""),  # the stub's port is redirected
        (PLAIN, STUB, ("resolved",), False, "the resolver at 127.0.0.53"),
        (PLAIN, STUB + "nameserver 192.0.2.53\n", (), False, ""),
        (PLAIN, "nameserver one.example\n", (), False, ""),
        (RESOLVE, STUB, ("resolved",), True, "systemd-resolved (nss-resolve)"),
        (RESOLVE, STUB, (), True, ""),  # it does not run, so the library asks by port 53
        (PLAIN, STUB, ("nscd",), True, "nscd"),
        (None, None, (), False, ""),
    ],
)
def test_who_asks(
    tmp_path: Path,
    nsswitch: str | None,
    resolv_conf: str | None,
    there: tuple[str, ...],
    has_redirect: bool,
    asks: str,
) -> None:
    files = {name: tmp_path / name for name in ("nsswitch", "resolv_conf", "resolved", "nscd")}
    for name, text in (("nsswitch", nsswitch), ("resolv_conf", resolv_conf), *((name, "") for name in there)):
        if text is not None:
            files[name].write_text(text)
    assert asks_instead(has_redirect=has_redirect, **files) == asks
