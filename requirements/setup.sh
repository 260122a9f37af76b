#!/usr/bin/env bash
# Makes .venv and installs the pinned dependencies and this project into it; does nothing when all is in place.
# usage: requirements/setup.sh [LOCK]      PYTHON=... names the interpreter; default: the system's own if it is
# 3.11 or later, for distributions build theirs with profiles, which is worth 10 to 20 % here (docs/decisions/0020)
set -euo pipefail
cd "$(dirname "$0")/.."
lock=${1:-requirements/dev-lock.txt}

# What the environment was made from: another lock, another place or another project file makes it anew.
stamp=.venv/.made-from-$(basename "$lock" .txt)
key=$({ cat "$lock" pyproject.toml; pwd; } | cksum)
if [ -x .venv/bin/python ] && [ "$(cat "$stamp" 2>/dev/null)" = "$key" ]; then
    exit 0
fi

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}
candidates=${PYTHON:-/usr/bin/python3 python3 python3.11 python3.12 python3.13 python3.14}
find_python() {
    for candidate in $candidates; do
        if new_enough "$candidate" && { [ "$#" -eq 0 ] || "$candidate" -c "import $1" 2>/dev/null; }; then
            echo "$candidate"
            return
        fi
    done
    echo "setup: no Python 3.11 or later found${1:+ that has $1}; install one or name it: make setup PYTHON=/path/to/python3" >&2
    exit 1
}

if ! new_enough .venv/bin/python; then
    python=$(find_python venv)
    echo "setup: making .venv with $("$python" --version)"
    rm -rf .venv
    # Debian's python3 may come without ensurepip: then its own pip, or another's, fills the environment.
    "$python" -m venv .venv >/dev/null 2>&1 || "$python" -m venv --clear --without-pip .venv
fi
if .venv/bin/python -c 'import pip' 2>/dev/null; then
    pip=(.venv/bin/python -m pip)
else
    installer=$(find_python pip)
    pip=("$installer" -m pip --python .venv/bin/python)
fi
echo "setup: installing the packages of $lock"
"${pip[@]}" install --quiet --disable-pip-version-check --require-hashes -r "$lock"
"${pip[@]}" install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
echo "$key" >"$stamp"
