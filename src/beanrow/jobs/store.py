"""Jobs put as they are to be: in their tube, their state, with what is left of their delay.

Law: a job that is to be buried is never ready in between, so that no worker gets it: it is put
with the longest delay there is, and taken from there by its id. One may become so if the connection
breaks between its two commands: a server makes what a lost connection held ready, and nothing but
reserving leads to bury.
"""

from __future__ import annotations

from collections.abc import Sequence

from beanrow.client.pipeline import Result
from beanrow.client.sync import Client
from beanrow.errors import BeanstalkError
from beanrow.jobs.lines import Spec
from beanrow.protocol import commands
from beanrow.protocol.values import MAX_UINT32

__all__ = ["store", "store_one"]


def store(client: Client, specs: Sequence[Spec]) -> list[Result[int]]:
    """Put these jobs; the new id or the error of each, in their order."""
    with client.pipeline() as pipe:
        puts = []
        for one in specs:
            pipe.add(commands.use(one.tube))
            delay = MAX_UINT32 if one.state == "buried" else one.delay
            puts.append(pipe.add(commands.put(one.body, one.priority, delay, one.ttr)))
    ids = [one.error or one.result() for one in puts]
    to_bury = [
        (place, id, specs[place].priority)
        for place, id in enumerate(ids)
        if isinstance(id, int) and specs[place].state == "buried"
    ]
    with client.pipeline() as pipe:
        taken = [
            (place, pipe.add(commands.reserve_job(id)), pipe.add(commands.bury(id, priority)))
            for place, id, priority in to_bury
        ]
    for place, reserved, buried in taken:
        error = reserved.error or buried.error
        if error is not None:
            error.add_note(f"the job was put as {ids[place]}, and is not buried")
            ids[place] = error
    return ids


def store_one(client: Client, spec: Spec) -> int:
    """Put this job; its new id."""
    (id,) = store(client, [spec])
    if isinstance(id, BeanstalkError):
        raise id
    return id
