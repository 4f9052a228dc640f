"""Questions that a gateway put to the users of clients, and which clients can be asked (until 2025-11-25)."""

from __future__ import annotations

from collections import OrderedDict
from secrets import token_hex
from threading import Event, Lock
from typing import Any

SESSIONS_LIMIT = 10_000


class Question:
    """One question, put in a session.

    Attributes:
        id: the JSON-RPC id of the request that asks.
        answered: set when the client has answered.
        accepted: its user wants to go on. Nobody is granted anything by that.
    """

    def __init__(self, room: str) -> None:
        self.id = f"kiff_{token_hex(16)}"
        self.room = room
        self.answered = Event()
        self.accepted = False


class Asking:
    """The open questions of a gateway; safe to use from many threads."""

    def __init__(self) -> None:
        self._questions: dict[str, Question] = {}
        self._able: OrderedDict[str, None] = OrderedDict()
        self._lock = Lock()

    def is_able(self, room: str) -> bool:
        """Did the client of this session say that it can ask its user?"""
        with self._lock:
            return room in self._able

    def able(self, room: str) -> None:
        with self._lock:
            self._able[room] = None
            if len(self._able) > SESSIONS_LIMIT:
                self._able.popitem(last=False)

    def ended(self, room: str) -> None:
        with self._lock:
            self._able.pop(room, None)

    def put(self, room: str) -> Question:
        question = Question(room)
        with self._lock:
            self._questions[question.id] = question
        return question

    def over(self, question: Question) -> None:
        with self._lock:
            self._questions.pop(question.id, None)

    def hear(self, room: str, message: dict[str, Any]) -> bool:
        """Is this the answer to one of our questions, from the session that it was put in?"""
        id = message.get("id")
        with self._lock:
            question = self._questions.get(id) if isinstance(id, str) else None
            if question is None or question.room != room:
                return False
            del self._questions[question.id]
        result = message.get("result")
        question.accepted = isinstance(result, dict) and result.get("action") == "accept"
        question.answered.set()
        return True
