#!/usr/bin/env bash
# Makes a virtual environment: setup_venv.sh DIRECTORY [PYTHON].
# Takes the first Python of 3.11 or newer; as root on Debian it installs what is missing by apt.
set -euo pipefail

venv=$1
shift
candidates=("$@")
[ ${#candidates[@]} -gt 0 ] || candidates=(python3 python3.14 python3.13 python3.12 python3.11)

fail() {
    echo "beanrow: $1" >&2
    exit 1
}

# Sets python and its version, as 3.11, to the first candidate that is new enough.
find_python() {
    for python in "${candidates[@]}"; do
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])
sys.exit(sys.version_info < (3, 11))' 2>/dev/null) && return
    done
    return 1
}

apt_install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 0
    echo "beanrow: installing $1 by apt"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update && apt-get install -y --no-install-recommends "$1"; } >/dev/null || true
}

if ! find_python; then
    apt_install python3
    find_python || fail "needs Python 3.11 or newer, none among: ${candidates[*]}; install one, or name it: make PYTHON=/path/to/python3"
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    apt_install "python$version-venv" # Debian keeps it in a package of its own
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python cannot make virtual environments; on Debian: sudo apt-get install python$version-venv"
fi

"$python" -m venv --clear "$venv" || fail "$python could not make a virtual environment in $venv"
