#!/usr/bin/env bash
# Makes a virtual environment: setup_venv.sh DIRECTORY [PYTHON].
# Takes the first Python of 3.11 or newer; on Debian as root it installs a missing venv module.
set -euo pipefail

venv=$1
shift
candidates=("$@")
[ ${#candidates[@]} -gt 0 ] || candidates=(python3 python3.14 python3.13 python3.12 python3.11)

fail() {
    echo "beanrow: $1" >&2
    exit 1
}

python=""
for candidate in "${candidates[@]}"; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || fail "no Python of 3.11 or newer among: ${candidates[*]}; install one, or name it: make PYTHON=/path/to/python3"

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "beanrow: installing python3-venv by apt"
        export DEBIAN_FRONTEND=noninteractive
        { apt-get update && apt-get install -y --no-install-recommends python3-venv; } >/dev/null ||
            fail "apt could not install python3-venv (its words are above)"
    fi
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python cannot make virtual environments; on Debian: sudo apt-get install python3-venv"
fi

"$python" -m venv --clear "$venv" || fail "$python could not make a virtual environment in $venv"
