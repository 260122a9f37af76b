"""What we build on: pinned by hash, permissively licensed, listed (SEC-08, DOC-09)."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest

from tests.support.sbom import licence_of, locked, sbom

ROOT = Path(__file__).parents[1]
LOCKS = sorted((ROOT / "requirements").glob("*lock.txt"))
PERMISSIVE = re.compile(
    r"\b(MIT|BSD|Apache|ISC|Python-2\.0|PSF|Unlicense|Public Domain|0BSD|Zlib)\b", re.IGNORECASE
)
COPYLEFT = re.compile(r"\b(A?GPL|LGPL|GNU|EUPL|SSPL|MPL|Mozilla)", re.IGNORECASE)


# Used as they are, by import, and replaceable by whoever installs us: docs/decisions/0014.
WEAK_COPYLEFT = {"zeroconf"}


def test_every_locked_package_has_hashes_and_an_exact_version() -> None:
    names = ["bench-lock.txt", "dev-lock.txt", "docs-lock.txt", "interop-lock.txt", "lock.txt"]
    assert [lock.name for lock in LOCKS] == names
    for lock in LOCKS:
        for name, (version, hashes) in locked(lock).items():
            assert re.fullmatch(r"[0-9][\w.!+]*", version), f"{lock.name}: {name}"
            assert hashes, f"{lock.name}: {name}"


def test_no_file_names_a_package_index() -> None:
    for file in [*LOCKS, ROOT / "pyproject.toml", ROOT / "Makefile", ROOT / ".ci" / "run"]:
        assert not re.search(r"index-url|find-links|trusted-host|https?://(?!127)", file.read_text()), (
            file.name
        )


def test_the_locks_hold_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {re.split(r"[\[>=;\s]", line)[0].lower() for line in project["dependencies"]}
    assert wanted <= locked().keys()
    developers = locked(ROOT / "requirements" / "dev-lock.txt")
    for name, (version, _) in locked().items():
        assert developers[name][0] == version


@pytest.mark.parametrize("name", sorted(locked()))
def test_what_a_release_installs_is_permissively_licensed(name: str) -> None:
    try:
        licence = licence_of(name)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{name} is not for this system")
    if name in WEAK_COPYLEFT:
        assert licence.startswith("LGPL"), licence
        return
    assert PERMISSIVE.search(licence), licence
    assert not COPYLEFT.search(licence), licence


def test_our_own_licence_is_stated_and_enclosed() -> None:
    assert importlib.metadata.metadata("vigilnet")["License-Expression"] == "MIT OR Apache-2.0"
    for name in ("LICENSE", "LICENSE-MIT", "LICENSE-APACHE"):
        assert (ROOT / name).stat().st_size > 100


def test_the_parts_list_is_whole_and_the_same_every_time() -> None:
    made = sbom()
    assert made == sbom()
    assert (made["bomFormat"], made["specVersion"]) == ("CycloneDX", "1.6")
    assert {part["name"] for part in made["components"]} == locked().keys()
    references = {part["bom-ref"] for part in made["components"]}
    assert references == set(made["dependencies"][0]["dependsOn"])
    for part in made["components"]:
        assert part["purl"] == f"pkg:pypi/{part['name']}@{part['version']}"
        assert part["externalReferences"][0]["hashes"]
