"""The plugin for pytest: the fixture ``beanstalk``, a beanstalk server for one test.

Law: it costs a test run nothing that does not use it. So nothing of beanrow is imported before
the fixture is asked for, and this module lives outside of that package.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from beanrow.testing import Beanstalk

__all__ = ["beanstalk"]


@pytest.fixture
def beanstalk() -> Iterator[Beanstalk]:
    """A beanstalk server in this process: full protocol, real sockets, a clock that you move.

    ``beanstalk.client()``, ``.async_client()`` and ``.address``; ``beanstalk.clock.advance(3600)``;
    ``beanstalk.faults.cut("reserve")``; ``beanstalk.assert_put("emails", "hello")``.
    """
    from beanrow.testing import Beanstalk

    with Beanstalk() as running:
        yield running
