"""Log records as jobs."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from beanrow import BadValueError
from beanrow.contrib.logging import TubeHandler
from beanrow.testing import Beanstalk


@pytest.fixture
def logger(beanstalk: Beanstalk) -> Iterator[logging.Logger]:
    one = logging.getLogger("shop.orders")
    handler = TubeHandler("log", beanstalk.address)
    one.addHandler(handler)
    yield one
    one.removeHandler(handler)
    handler.close()


def records(beanstalk: Beanstalk) -> list[dict[str, object]]:
    client = beanstalk.client()
    client.watch("log")
    return [json.loads(job.body) for job in client.reserve_many(9)]


def test_records_are_jobs_and_the_worst_come_first(
    logger: logging.Logger, beanstalk: Beanstalk
) -> None:
    logger.warning("order %d is late", 7)
    try:
        raise KeyError("no such order")
    except KeyError:
        logger.exception("order lost")
    lost, late = records(beanstalk)
    assert (lost["level"], lost["message"]) == ("error", "order lost")
    assert "KeyError: 'no such order'" in str(lost["traceback"])
    assert late["message"] == "order 7 is late"


def test_what_beanrow_logs_is_not_put(logger: logging.Logger, beanstalk: Beanstalk) -> None:
    handler = logger.handlers[0]
    for name in ("beanrow", "beanrow.worker"):
        handler.handle(logging.LogRecord(name, logging.ERROR, "", 1, "inner", (), None))
    handler.handle(logging.LogRecord("beanrowing", logging.ERROR, "", 1, "outer", (), None))
    assert [one["message"] for one in records(beanstalk)] == ["outer"]


def test_a_server_that_is_away_does_not_reach_who_logs(capsys: pytest.CaptureFixture[str]) -> None:
    handler = TubeHandler("log", "127.0.0.1:1")
    handler.handle(logging.LogRecord("shop", logging.ERROR, "", 1, "x", (), None))
    handler.close()
    assert "ConnectFailedError" in capsys.readouterr().err


def test_a_name_that_is_no_tubes_is_refused_at_once() -> None:
    with pytest.raises(BadValueError, match="tube name"):
        TubeHandler("no tube")
