#!/usr/bin/env bash
# Installs a missing program: apt_install.sh PROGRAM PACKAGE...
# By apt, as root; otherwise says in one line what to do, and fails.
set -euo pipefail

program=$1
shift

export PATH="$PATH:/usr/sbin:/usr/local/sbin"
if command -v "$program" >/dev/null; then
    exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "beanrow: no $program here, and only root can install it: sudo apt-get install $*" >&2
    exit 1
fi
echo "beanrow: installing $* by apt"
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update && apt-get install -y --no-install-recommends "$@"; } >/dev/null; then
    echo "beanrow: apt could not install $* (its words are above)" >&2
    exit 1
fi
