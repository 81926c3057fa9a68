"""What ``stats`` tells of the process and the machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from resource import RUSAGE_SELF, getrusage

from beanrow.engine.counters import HostFacts
from beanrow.version import __version__

__all__ = ["host_facts"]


def host_facts(server_id: str) -> Callable[[], HostFacts]:
    """Collect what does not change once; the rest at each call."""
    uname = os.uname()
    pid = os.getpid()

    def facts() -> HostFacts:
        usage = getrusage(RUSAGE_SELF)
        return HostFacts(
            pid=pid,
            version=f"beanrow {__version__}",
            rusage_utime=usage.ru_utime,
            rusage_stime=usage.ru_stime,
            id=server_id,
            hostname=uname.nodename,
            os=uname.version,
            platform=uname.machine,
        )

    return facts
