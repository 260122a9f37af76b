#!/usr/bin/env bash
# Writes the locks anew from pyproject.toml: exact versions and hashes, no index address.
# usage: requirements/lock.sh [--upgrade]      (needs a package index; run it on the oldest Python we serve)
set -euo pipefail
cd "$(dirname "$0")/.."
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
"${PYTHON:-python3.11}" -m venv "$tools/venv"
"$tools/venv/bin/pip" -q install "pip-tools>=7.4"
compile() {
    "$tools/venv/bin/pip-compile" -q "${@:2}" --generate-hashes --strip-extras --allow-unsafe --resolver=backtracking \
        --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options --no-header \
        -o "$1" pyproject.toml
    sed -i "1i # Written by requirements/lock.sh from pyproject.toml; do not edit." "$1"
}
compile requirements/lock.txt --extra dht --extra nat --extra desktop "$@"
compile requirements/dev-lock.txt --extra dev --constraint requirements/lock.txt "$@"
compile requirements/docs-lock.txt --extra docs --constraint requirements/dev-lock.txt "$@"
compile requirements/interop-lock.txt --extra interop --constraint requirements/dev-lock.txt "$@"
compile requirements/bench-lock.txt --extra bench --constraint requirements/dev-lock.txt "$@"
