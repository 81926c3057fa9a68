#!/usr/bin/env bash
# Installs the real beanstalkd where it is missing: by apt, as root. Says in one line why it cannot.
set -euo pipefail

export PATH="$PATH:/usr/sbin:/usr/local/sbin"
if command -v beanstalkd >/dev/null; then
    exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "beanrow: no beanstalkd here, and only root can install it: sudo apt-get install beanstalkd" >&2
    exit 1
fi
echo "beanrow: installing beanstalkd by apt"
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update && apt-get install -y --no-install-recommends beanstalkd; } >/dev/null; then
    echo "beanrow: apt could not install beanstalkd (its words are above)" >&2
    exit 1
fi
