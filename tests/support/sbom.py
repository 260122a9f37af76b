"""The parts list of a release as CycloneDX 1.6 JSON: `python -m tests.support.sbom FILE`.

Made from requirements/lock.txt (exact versions and hashes: what a release installs) and the licences that the
installed packages state. Nothing in it depends on when or where it was made.
"""

import hashlib
import importlib.metadata
import json
import re
import sys
import uuid
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements" / "lock.txt"


def locked(lock: Path = LOCK) -> dict[str, tuple[str, list[str]]]:
    """Name to (version, SHA-256 hashes) of every package in a lock."""
    found: dict[str, tuple[str, list[str]]] = {}
    name = ""
    for line in lock.read_text().splitlines():
        if start := re.match(r"([A-Za-z0-9._-]+)==([^\s;]+)", line):
            name = start[1]
            found[name] = (start[2], [])
        elif digest := re.search(r"--hash=sha256:([0-9a-f]{64})", line):
            found[name][1].append(digest[1])
    return found


def licence_of(name: str) -> str:
    """What an installed package says of its licence: the expression, else the classifiers, else the field."""
    metadata = importlib.metadata.metadata(name)
    if "License-Expression" in metadata:
        return metadata["License-Expression"]
    classified = [
        value.rpartition(" :: ")[2]
        for value in metadata.get_all("Classifier") or []
        if value.startswith("License :: OSI Approved :: ")
    ]
    stated = metadata["License"].splitlines()[0] if "License" in metadata else "unknown"
    return " OR ".join(classified) or stated


def component(name: str, version: str, hashes: list[str]) -> dict[str, Any]:
    """One part; its hashes are those of the files that the lock allows."""
    made: dict[str, Any] = {
        "type": "library",
        "bom-ref": f"pkg:pypi/{name}@{version}",
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{name}@{version}",
        "externalReferences": [
            {
                "type": "distribution",
                "url": f"pkg:pypi/{name}@{version}",
                "hashes": [{"alg": "SHA-256", "content": digest} for digest in sorted(hashes)],
            }
        ],
    }
    try:
        made["licenses"] = [{"license": {"name": licence_of(name)}}]
    except importlib.metadata.PackageNotFoundError:  # of another system: named, licence unknown here
        made["licenses"] = [{"license": {"name": "unknown"}}]
    return made


def sbom() -> dict[str, Any]:
    """The whole document."""
    version = importlib.metadata.version("vigilnet")
    parts = [component(name, number, hashes) for name, (number, hashes) in sorted(locked().items())]
    serial = uuid.UUID(bytes=hashlib.sha256(LOCK.read_bytes() + version.encode()).digest()[:16], version=4)
    root = f"pkg:pypi/vigilnet@{version}"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": root,
                "name": "vigilnet",
                "version": version,
                "licenses": [{"expression": "MIT OR Apache-2.0"}],
            }
        },
        "components": parts,
        "dependencies": [{"ref": root, "dependsOn": [part["bom-ref"] for part in parts]}],
    }


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(sbom(), indent=2) + "\n")
