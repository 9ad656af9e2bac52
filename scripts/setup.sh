#!/bin/sh
# Makes the virtual environment (first argument) with the newest usable Python that is at hand, and puts uv into it.
# Choose another interpreter with PYTHON=/path/to/python3.
set -eu
venv=$1
found=""
for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
        found=$candidate
        break
    fi
done
if [ -z "$found" ]; then
    have=$(${PYTHON:-python3} --version 2>&1 | head -n 1 || true)
    echo "workbench needs Python 3.11 or newer, and found ${have:-none}: install one, or name it with PYTHON=/path/to/python3.11." >&2
    exit 1
fi
if ! "$found" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    echo "workbench: $("$found" --version) here comes without venv: install it (Debian, Ubuntu: apt install python3-venv), then run make again." >&2
    exit 1
fi
echo "workbench: making $venv with $("$found" --version)"
"$found" -m venv --clear "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
