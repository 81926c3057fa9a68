"""What is changed: each form of the pages, with the rights that it needs.

Laws:
- A right is asked for each tube that a change touches, the one that jobs go to among them.
- What takes jobs away keeps them first, so that it can be undone.
- Jobs that workers hold are left, and so are those that come meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.responses import Response

from beanrow.client.sync import Client
from beanrow.dashboard.access import CLEAR, DELETE, EDIT, KICK, MOVE, PAUSE, PUT, Needs
from beanrow.dashboard.bodies import from_form
from beanrow.dashboard.changes import Change, Work
from beanrow.dashboard.views import asked
from beanrow.dashboard.visit import Form, Visit, address
from beanrow.dashboard.words import count, seconds
from beanrow.errors import BadValueError
from beanrow.jobs.change import Edit, edit_held, is_letter, move_job, put_back, take
from beanrow.jobs.emptying import emptied
from beanrow.jobs.paging import pages_of
from beanrow.jobs.search import Found, ask, carry_out, no_job
from beanrow.jobs.selection import STATES, Selection
from beanrow.protocol import commands
from beanrow.protocol.stats import JobStats
from beanrow.protocol.values import tube_name
from beanrow.worker.letters import read_letter

__all__ = ["change_jobs", "change_tube", "edit_job", "undo_change"]

_AT_ONCE = 100
_LONGEST_PAUSE = 30 * 86_400

Choice = Callable[[Client], Iterator[list[Found]]]
"""Finds the jobs that are meant, with their bodies, in windows."""


class _Order(NamedTuple):
    """What was asked for: a form, its tube, and its jobs where it is about jobs."""

    visit: Visit
    form: Form
    tube: str
    choice: Choice


class _Plan(NamedTuple):
    """What is to be done: the words for it, the tubes it is about, and the work."""

    what: str
    tubes: list[str]
    work: Work


class _Action(NamedTuple):
    """What it needs in the tube, and how it becomes a plan."""

    needs: Needs
    plan: Callable[[_Order], _Plan]


async def _carried_out(visit: Visit, plan: _Plan) -> Change:
    return await visit.desk.changes.carry_out(
        visit.session.principal.name, visit.peer, visit.source, plan.what, plan.tubes, plan.work
    )


async def _back(visit: Visit, change: Change, page: str, **query: str) -> Response:
    """Lead back to a page, which tells the outcome; to that of the server if its tube is gone."""
    if "name" in query and not await asked(visit.source, lambda client: _is_there(client, query)):
        page, query = "", {}
    return visit.go(address(f"/{visit.source.number}/{page}", change=change.number, **query))


def _is_there(client: Client, query: dict[str, str]) -> bool:
    (stats,) = ask(client, [commands.stats_tube(query["name"])])
    return stats is not None


# -- tubes ------------------------------------------------------------------------


async def change_tube(visit: Visit, form: Form) -> Response:
    """Pause, resume, kick or clear a tube, or put a job into it."""
    name = form.text("name")
    tube_name(name)
    action = _chosen_action(_TUBE_ACTIONS, form)
    visit.need(name, action.needs)
    plan = action.plan(_Order(visit, form, name, lambda _: iter(())))
    change = await _carried_out(visit, plan)
    return await _back(visit, change, "tube", name=name)


def _chosen_action(actions: dict[str, _Action], form: Form) -> _Action:
    action = form.text("action")
    if action not in actions:
        raise HTTPException(400, f"{action!r} is none of {', '.join(actions)}")
    return actions[action]


def _pause(order: _Order) -> _Plan:
    name, duration = order.tube, order.form.number("seconds", _LONGEST_PAUSE)
    if not duration:
        raise HTTPException(400, "a pause lasts at least a second")

    def work(client: Client, _change: Change) -> str:
        client.pause_tube(name, duration)
        return f"tube {name} hands out nothing for {seconds(duration)}"

    return _Plan(f"pause tube {name} for {seconds(duration)}", [name], work)


def _resume(order: _Order) -> _Plan:
    name = order.tube

    def work(client: Client, _change: Change) -> str:
        client.pause_tube(name, 0)
        return f"tube {name} hands out jobs again"

    return _Plan(f"resume tube {name}", [name], work)


def _kick(order: _Order) -> _Plan:
    name, most = order.tube, order.form.number("count")

    def work(client: Client, change: Change) -> str:
        if most is None:
            kicked = client.kick_all(name)
        else:
            client.use(name)
            kicked = client.kick(most)
        change.advance(kicked)
        return f"{count(kicked)} of tube {name} kicked"

    what = "all buried jobs" if most is None else count(most)
    return _Plan(f"kick {what} of tube {name}", [name], work)


def _clear(order: _Order) -> _Plan:
    name = order.tube

    def work(client: Client, change: Change) -> str:
        stats = client.stats_tube(name)
        change.total = sum(getattr(stats, f"current_jobs_{state}") for state in STATES)
        for window in emptied(client, name, change.keep):
            for one, gone in window:
                if not gone:
                    change.spare(one.stats.id)
            change.advance(sum(gone for _, gone in window))
        return f"{count(change.done)} of tube {name} deleted"

    return _Plan(f"clear tube {name}", [name], work)


def _put(order: _Order) -> _Plan:
    name, form = order.tube, order.form
    body = from_form(form.text("body"), "text")
    priority, delay, ttr = (form.number(one) for one in ("priority", "delay", "ttr"))
    if priority is None or delay is None or ttr is None:
        raise HTTPException(400, "a job has a priority, a delay and a ttr")

    def work(client: Client, change: Change) -> str:
        id = client.put(body, tube=name, priority=priority, delay=delay, ttr=ttr)
        change.advance()
        return f"job {int(id)} put into tube {name}"

    return _Plan(f"put a job into tube {name}", [name], work)


_TUBE_ACTIONS = {
    "pause": _Action(PAUSE, _pause),
    "resume": _Action(PAUSE, _resume),
    "kick": _Action(KICK, _kick),
    "clear": _Action(CLEAR, _clear),
    "put": _Action(PUT, _put),
}


# -- jobs -------------------------------------------------------------------------


async def change_jobs(visit: Visit, form: Form) -> Response:
    """Kick, delete or move jobs that were ticked, or all that the filter finds."""
    name, ids = form.text("name"), form.ids()
    wanted = form.selection() if form.text("all") else None
    if wanted is None and not ids:
        raise HTTPException(400, "tick jobs, or say that all are meant")
    action = _chosen_action(_JOB_ACTIONS, form)
    visit.need(name, action.needs)
    plan = action.plan(_Order(visit, form, name, lambda client: _chosen(client, name, ids, wanted)))
    what = f"{plan.what} {_told(ids, wanted, form.text('match'))} of tube {name}"
    change = await _carried_out(visit, plan._replace(what=what))
    came_from = form.text("from")
    if came_from == "job" and form.text("action") == "kick":
        return await _back(visit, change, f"job/{ids[0]}")
    if came_from == "failed":
        return await _back(visit, change, "failed", name=name)
    kept = {one: form.text(one) for one in ("state", "older", "younger", "match")}
    return await _back(visit, change, "jobs", name=name, **kept)


def _told(ids: list[int], wanted: Selection | None, match: str) -> str:
    if wanted is None:
        return f"job {ids[0]}" if len(ids) == 1 else count(len(ids))
    asked_for = {
        "state": "".join(wanted.states),
        "older than": wanted.older,
        "younger than": wanted.younger,
        "body with": match,
    }
    words = ", ".join(f"{word} {value}" for word, value in asked_for.items() if value)
    return f"all jobs ({words})" if words else "all jobs"


def _chosen(
    client: Client, tube: str, ids: list[int], wanted: Selection | None
) -> Iterator[list[Found]]:
    """Find the jobs; BadValueError if one of them is of another tube, where rights may differ."""
    if wanted is not None:
        yield from pages_of(client, tube, wanted)
        return
    for first in range(0, len(ids), _AT_ONCE):
        some = ids[first : first + _AT_ONCE]
        told = ask(client, [commands.stats_job(id) for id in some])
        jobs = ask(client, [commands.peek(id) for id in some])
        for id, stats in zip(some, told, strict=True):
            if stats is None:
                raise no_job(id)
            if stats.tube != tube:
                raise BadValueError(f"job {id} is in tube {stats.tube}, not in {tube}")
        yield [
            Found(stats, job.body) for stats, job in zip(told, jobs, strict=True) if job is not None
        ]


def _kick_jobs(order: _Order) -> _Plan:
    def work(client: Client, change: Change) -> str:
        left = 0
        for window in order.choice(client):
            kicked = carry_out(client, [commands.kick_job(one.stats.id) for one in window])
            left += kicked.count(False)
            change.advance(kicked.count(True))
        told = f"{count(change.done)} of tube {order.tube} kicked"
        return f"{told}; {count(left)} neither buried nor delayed" if left else told

    return _Plan("kick", [order.tube], work)


def _delete_jobs(order: _Order) -> _Plan:
    def work(client: Client, change: Change) -> str:
        left = 0
        for window in order.choice(client):
            for one in window:
                change.keep(one)
            gone = carry_out(client, [commands.delete(one.stats.id) for one in window])
            for one, is_gone in zip(window, gone, strict=True):
                if not is_gone:
                    change.spare(one.stats.id)
            left += gone.count(False)
            change.advance(gone.count(True))
        return _done(change, order.tube, "deleted", left)

    return _Plan("delete", [order.tube], work)


def _done(change: Change, tube: str, verb: str, left: int) -> str:
    told = f"{count(change.done)} of tube {tube} {verb}"
    return f"{told}; {count(left)} left, held by workers" if left else told


def _move_jobs(order: _Order) -> _Plan:
    to = order.form.text("to").strip()
    tube_name(to)
    if to == order.tube:
        raise HTTPException(400, f"the jobs are in tube {to} already")
    order.visit.need(to, PUT)
    work = _moving(order, lambda _: to)
    return _Plan(f"move to tube {to}", [order.tube, to], work)


def _send_back(order: _Order) -> _Plan:
    session = order.visit.session

    def target(one: Found) -> None:
        """Check that a dead letter may go where it came from."""
        if not is_letter(one.known_body):
            raise BadValueError(f"job {one.stats.id} is no dead letter; move it to a tube")
        tube = str(read_letter(one.known_body).tube)
        if not session.may(tube, PUT):
            raise BadValueError(f"{session.principal.name} has no right to put into tube {tube}")

    return _Plan("send back", [order.tube], _moving(order, target))


def _moving(order: _Order, target: Callable[[Found], str | None]) -> Work:
    """Make the work that moves jobs to a tube, or dead letters back where ``target`` gives none."""

    def work(client: Client, change: Change) -> str:
        left, last = 0, ""
        for window in order.choice(client):
            for one in window:
                to = target(one)
                change.keep(one)
                moved = move_job(client, one.stats.id, to)
                if moved is None:
                    left += 1
                    change.spare(one.stats.id)
                    continue
                change.became(one.stats.id, moved.new)
                change.tubes.add(moved.tube)
                last = f", the last one as {moved.new} into tube {moved.tube}"
                change.advance()
        return _done(change, order.tube, f"moved{last}", left)

    return work


_JOB_ACTIONS = {
    "kick": _Action(KICK, _kick_jobs),
    "delete": _Action(DELETE, _delete_jobs),
    "move": _Action(MOVE, _move_jobs),
    "letter": _Action(MOVE, _send_back),
}


async def edit_job(visit: Visit, form: Form) -> Response:
    """Change priority, delay, ttr or body of a job."""
    id = int(visit.request.path_params["id"])
    tube = (await asked(visit.source, lambda client: _stats(client, id))).tube
    visit.need(tube, EDIT)
    priority, delay, ttr = (form.number(one) for one in ("priority", "delay", "ttr"))
    body = from_form(form.text("body"), form.text("how"))
    new: list[int] = []

    def work(client: Client, change: Change) -> str:
        held, job = take(client, id)
        if held.tube != tube:  # the server was started again: rights may differ there
            put_back(client, held)
            raise BadValueError(f"job {id} is in tube {held.tube} now")
        old = Found(held, job.body)
        change.keep(old)
        edit = Edit(
            priority if priority != held.pri else None,
            delay,
            ttr if ttr != held.ttr else None,
            body if body != job.body else None,
        )
        new.append(edit_held(client, old, edit))
        change.became(id, new[0])
        change.advance()
        return f"job {id} changed" + (f"; it is job {new[0]} now" if new[0] != id else "")

    change = await _carried_out(visit, _Plan(f"edit job {id} of tube {tube}", [tube], work))
    return await _back(visit, change, f"job/{new[0] if new else id}")


def _stats(client: Client, id: int) -> JobStats:
    (stats,) = ask(client, [commands.stats_job(id)])
    if stats is None:
        raise no_job(id)
    found: JobStats = stats
    return found


# -- undoing ----------------------------------------------------------------------


async def undo_change(visit: Visit, form: Form) -> Response:
    """Put back what a change took away."""
    number = form.number("change")
    change = visit.desk.changes.find(number or 0)
    if change is None or change.source is not visit.source:
        raise HTTPException(404, f"change {number} is not remembered any more")
    for tube in change.tubes:
        visit.need(tube, EDIT)
    if not change.left_to_put_back:
        raise HTTPException(409, f"there is nothing to put back of change {number}")
    change.undoing = True
    what = f"undo change {change.number}: {change.what}"
    undoing = await _carried_out(visit, _Plan(what, sorted(change.tubes), change.undone))
    return await _back(visit, undoing, "changes")
