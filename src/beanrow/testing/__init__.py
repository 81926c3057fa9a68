"""A whole beanstalk server inside a test, on a clock and with faults of the test's own.

    from beanrow.testing import Beanstalk

    with Beanstalk() as beanstalk:
        beanstalk.client().put("hello", tube="emails", delay=3600)
        beanstalk.clock.advance(3600)
        beanstalk.assert_jobs("emails", ready=1)

With pytest it is the fixture ``beanstalk``; for other languages ``beanrow serve --test``.
"""

from __future__ import annotations

from beanrow.testing.beanstalk import ANY, Beanstalk
from beanrow.testing.faults import Armed
from beanrow.testing.queue import JobSeen
from beanrow.testing.switches import Clock, FaultSwitches, Switch

__all__ = ["ANY", "Armed", "Beanstalk", "Clock", "FaultSwitches", "JobSeen", "Switch"]
