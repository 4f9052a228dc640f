"""The tool calls that a server made into tasks. Each was decided before it began, and ends when the server says so.

In 2025-11-25 a client asks with `tasks/get` how a task stands and fetches the result with `tasks/result`; since
2026-07-28, as an extension, the answer to `tasks/get` carries the result. This file listens and asks nothing itself.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Event, Lock
from typing import Any, NamedTuple

from kiff_guard.mcp.message import is_answer
from kiff_guard.mcp.ruling import Ruling

TASKS_LIMIT = 1_000
"""How many tasks are waited for."""
COMPLETED, FAILED, CANCELLED = "completed", "failed", "cancelled"

_ID_LIMIT = 1_024
_RELATED = "io.modelcontextprotocol/related-task"
_TELLING = ("notifications/tasks", "notifications/tasks/status")
_STATE, _RESULT = ("tasks/get", "tasks/cancel"), "tasks/result"


class Asked(NamedTuple):
    """What a request asks of a task; "" for one that asks nothing."""

    method: str = ""
    task: str = ""


NOTHING = Asked()


class Ended(NamedTuple):
    """How a task ended.

    Attributes:
        id: the server's name for it.
        status: completed, failed or cancelled; "" if the server never said.
        outcome: the `result` or the `error` of the call, as the answer to it would have had it, if the server said so.
    """

    id: str
    ruling: Ruling
    status: str = ""
    outcome: Mapping[str, Any] | None = None


@dataclass
class _Task:
    id: str
    ruling: Ruling
    is_completed: bool = False

    def end(self) -> Ended:
        """Nobody will hear any more of it."""
        return Ended(self.id, self.ruling, COMPLETED if self.is_completed else "")


class Tasks:
    """The tasks that are under way; safe to use from many threads. A server's ids are unique among all of its tasks."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, _Task] = OrderedDict()
        self._ending: dict[str, Event] = {}
        self._lock = Lock()

    def begin(self, id: str, ruling: Ruling) -> list[Ended]:
        """A call is a task from now on. Gives those that have to go for it."""
        with self._lock:
            gone = [self._open.pop(id)] if id in self._open else []
            self._open[id] = _Task(id, ruling)
            if len(self._open) > TASKS_LIMIT:
                gone.append(self._open.popitem(last=False)[1])
        return [each.end() for each in gone]

    def hear(self, message: Mapping[str, Any], asked: Asked) -> Ended | Event | None:
        """Something comes from the server: does it end a task?

        Args:
            asked: what the request asked that this is the answer to.

        Returns:
            How it ended, for the first to say so, who calls `over` once it is settled; for others what they wait on.
        """
        if message.get("method") in _TELLING:
            return self._told(_object(message.get("params")))
        result = message.get("result")
        if not is_answer(message) or not isinstance(result, dict):
            return None  # an error may be about the question, and not about the task
        if asked.method in _STATE:
            return self._told(result)
        related = _object(_object(result.get("_meta")).get(_RELATED)).get("taskId")
        return self._pop(asked.task if asked.method == _RESULT else related, COMPLETED, {"result": result})

    def over(self, ended: Ended) -> None:
        """It is settled, so that everybody may learn of it."""
        with self._lock:
            event = self._ending.pop(ended.id, None)
        if event is not None:
            event.set()

    def end(self, session: str | None = None) -> list[Ended]:
        """A session is over, or all of them: gives what was open in it."""
        with self._lock:
            over = [id for id, each in self._open.items() if session in (None, each.ruling.call.session)]
            return [self._open.pop(id).end() for id in over]

    def _told(self, task: Mapping[str, Any]) -> Ended | Event | None:
        id, status = task.get("taskId"), task.get("status")
        if status == COMPLETED:
            result = task.get("result")
            return self._pop(id, COMPLETED, {"result": result}) if isinstance(result, dict) else self._completed(id)
        if status == FAILED:
            return self._pop(id, FAILED, {"error": _object(task.get("error"))})
        return self._pop(id, CANCELLED, None) if status == CANCELLED else None

    def _completed(self, id: Any) -> Event | None:
        """It is completed, and its result, which may be an error of the tool, is fetched by another request."""
        with self._lock:
            task = self._open.get(id) if isinstance(id, str) else None
            if task is not None:
                task.is_completed = True
            return self._ending.get(id) if isinstance(id, str) else None

    def _pop(self, id: Any, status: str, outcome: Mapping[str, Any] | None) -> Ended | Event | None:
        with self._lock:
            task = self._open.pop(id, None) if isinstance(id, str) else None
            if task is None:
                return self._ending.get(id) if isinstance(id, str) else None
            self._ending[task.id] = Event()
        return Ended(task.id, task.ruling, status, outcome)


def asked_of(message: Mapping[str, Any]) -> Asked:
    """What a request of a client asks of a task."""
    method, task = message.get("method"), _object(message.get("params")).get("taskId")
    is_about_one = isinstance(task, str) and (method in _STATE or method == _RESULT)
    return Asked(str(method), str(task)) if is_about_one else NOTHING


def task_of(result: Any) -> Mapping[str, Any] | None:
    """The task that a call became, by its answer; None if it became none that can be followed."""
    result = _object(result)
    task = result if result.get("resultType") == "task" else _object(result.get("task"))
    id = task.get("taskId")
    return task if isinstance(id, str) and 0 < len(id) <= _ID_LIMIT else None


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
