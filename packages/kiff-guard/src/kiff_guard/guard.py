"""The guard: what stands between an agent and its tools. Two modes, two shapes, one receipt for every call.

    guard = Guard(mode="observe")
    answer = guard.evaluate("refund", {"order_id": "ord_001", "amount": 49.0}, run=lambda: refund("ord_001", 49.0))

`observe` runs every tool and asks nobody. `enforce` asks KIFF before each tool and runs it on `allowed` alone. Where
the framework runs the tool itself, ask with `decide_only` and say how it ended with `settle`. A guard adds no
authority: it carries the call, and KIFF decides.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, overload

from kiff_guard.admission import Admission, Call
from kiff_guard.asking import Asking
from kiff_guard.attempts import Attempt, Ran
from kiff_guard.catalog import Catalog
from kiff_guard.core import Core, Mode
from kiff_guard.decision import OBSERVED, Decision
from kiff_guard.ending import MISSING
from kiff_guard.errors import ConfigurationError, LedgerError
from kiff_guard.ledgers.memory import MemoryLedger
from kiff_guard.made_of import check_parts, check_words
from kiff_guard.notice import alarm
from kiff_guard.outcomes import Outcomes
from kiff_guard.receipt import NOT_RUN, UNKNOWN, Receipt
from kiff_guard.redaction import Redact, redact_secrets
from kiff_guard.steps import adrive, drive
from kiff_guard.taint import Taint
from kiff_guard.version import VERSION
from kiff_guard.watching import Failed, Watch

Function = TypeVar("Function", bound=Callable[..., Any])


class Guard:
    """Stands in front of an agent's tools. One guard serves any number of threads and event loops.

    Args:
        client: asks KIFF, such as `HTTPClient`; enforce needs one, observe never calls it for a decision.
        tenant: for clients that want it; a KIFF key says its tenant by itself.
        agent: who acts. A key that is bound to an agent says so by itself.
        mode: "observe" or "enforce", for good: there is no way to change it later.
        catalog: learns which tools there are; a new one if none is given.
        ledger: keeps receipts: a list, a ledger of `kiff_guard.ledgers`, or anything with `append(receipt)`.
        run_id: names the run in `run_context`.
        untrusted_tools: tools whose results may carry somebody else's instructions: they taint the run.
        sensitive_tools: tools that read what must not leave: they taint the run.
        fail_closed: withhold when KIFF cannot be asked. False lets tools run then, and their receipts say so.
        unmapped: what enforce does with tools the client has no action for: "withhold", "allow", "observe"; the
            client's own rule if not given.
        redact: takes out of arguments what receipts must not keep; None keeps all.
        session: names what call ids belong to, when they have to be the same call in another process.
        adapter: the name of the adapter, for receipts.
        errors: what KIFF is told of a tool that raised. "unknown": nobody knows whether it took effect, so the entity
            stays closed until a person says; a tool that knows raises `ActionFailed`. "failed": tools of this guard
            that raise have done nothing.
        on_hold: what `wrap` answers instead of raising `Hold`.

    Raises:
        ConfigurationError: a mode that does not exist, enforce without a client, an unknown rule, or a part that
            is none: a path as the ledger, one text as a list of tools.
    """

    def __init__(
        self,
        client: Any = None,
        tenant: str = "",
        agent: str | None = None,
        mode: Mode = "observe",
        catalog: Catalog | None = None,
        ledger: Any = None,
        run_id: str = "",
        untrusted_tools: Iterable[str] = (),
        sensitive_tools: Iterable[str] = (),
        *,
        fail_closed: bool = True,
        unmapped: str | None = None,
        redact: Redact | None = redact_secrets,
        session: str | None = None,
        adapter: str = "",
        errors: str = "unknown",
        on_hold: Callable[[Decision], Any] | None = None,
    ) -> None:
        check_words(mode, client, unmapped, errors)
        check_parts(catalog, ledger, redact, untrusted_tools=untrusted_tools, sensitive_tools=sensitive_tools)
        self.agent = agent or ""
        self.tenant = tenant
        self.client = client
        self.catalog = Catalog() if catalog is None else catalog
        self.ledger = MemoryLedger() if ledger is None else ledger
        self._on_hold = on_hold
        self._taint = Taint(run_id, frozenset(untrusted_tools), frozenset(sensitive_tools))
        asking = Asking(client if mode == "enforce" else None, tenant, unmapped)
        self._core = Core(mode, asking, Outcomes(client, errors), self.ledger, self.catalog, redact, self._taint)
        self._admission = Admission(self._core, session or "", fail_closed, adapter)
        self._at_exit = False

    @property
    def mode(self) -> Mode:
        """What it was made with."""
        return self._core.mode

    @property
    def receipts(self) -> list[Receipt]:
        """The receipts in memory, oldest first; none if the ledger keeps them elsewhere."""
        return list(self.ledger) if hasattr(self.ledger, "__iter__") else []

    # The guard runs the tool

    def evaluate(
        self,
        tool: str,
        args: Any,
        run: Callable[[], Any],
        *,
        call_id: str | None = None,
        approval_id: str | None = None,
        session: str | None = None,
        trace: str | None = None,
        fail_closed: bool | None = None,
        failed: Failed | None = None,
        adapter: str = "",
    ) -> Any:
        """Runs the tool if it may run, and gives back what it gave, unchanged.

        Args:
            tool: its name, as the framework knows it.
            args: its arguments by name.
            run: runs it. What it gives back may be a value, an awaitable, a generator or an async generator: the same
                kind is given back, and the receipt is settled when it ends.
            call_id: the framework's id of this call. With a session, the same id with the same arguments is the same
                call whenever it comes: it runs once.
            approval_id: the review it was held for. A call that comes again needs none: the guard remembers.
            session: what the call id belongs to: a conversation, a thread. Ids are unique in it.
            trace: a W3C traceparent.
            fail_closed: overrides the guard's.
            failed: reads a result that may stand for an error: falsy for a success, else why: a text or the error.
            adapter: the name of the adapter, for the receipt.

        Raises:
            Hold: it was withheld and did not run.
            BaseException: whatever the tool raised, unchanged.
        """
        attempt = self._attempt(Call(tool, args, call_id, session, trace, fail_closed, adapter))
        may_run = drive(self._admission.to_run(attempt, approval_id))
        if isinstance(may_run, Ran):
            return may_run.result
        return Watch(self._core, may_run, failed).run(run)

    async def aevaluate(
        self,
        tool: str,
        args: Any,
        run: Callable[[], Any],
        *,
        call_id: str | None = None,
        approval_id: str | None = None,
        session: str | None = None,
        trace: str | None = None,
        fail_closed: bool | None = None,
        failed: Failed | None = None,
        adapter: str = "",
    ) -> Any:
        """As `evaluate`, for event loops: no loop stands still while KIFF is asked, and what `run` gives is awaited."""
        attempt = self._attempt(Call(tool, args, call_id, session, trace, fail_closed, adapter))
        may_run = await adrive(self._admission.to_run(attempt, approval_id))
        if isinstance(may_run, Ran):
            return may_run.result
        return await Watch(self._core, may_run, failed).arun(run)

    # The framework runs the tool

    def decide_only(
        self,
        tool: str,
        args: Any,
        *,
        call_id: str | None = None,
        approval_id: str | None = None,
        session: str | None = None,
        trace: str | None = None,
        fail_closed: bool | None = None,
        settles: bool = True,
        peek: bool = False,
        adapter: str = "",
    ) -> Decision:
        """May this call run? For frameworks that run the tool after their hook returned; in observe nobody is asked.

        A call that may run is open until `settle`. One that is withheld has its receipt already. What goes wrong is an
        answer (`error`), never an exception.

        Args:
            settles: the adapter will say how it ended. False where the framework never tells.
            peek: it is only asked whether it may run, as frameworks do before they pause. Whoever asks next for the
                same call, to run it, gets this answer, once.
        """
        attempt = self._attempt(Call(tool, args, call_id, session, trace, fail_closed, adapter, settles))
        return drive(self._admission.decide(attempt, approval_id, peek=peek)).decision

    async def adecide_only(
        self,
        tool: str,
        args: Any,
        *,
        call_id: str | None = None,
        approval_id: str | None = None,
        session: str | None = None,
        trace: str | None = None,
        fail_closed: bool | None = None,
        settles: bool = True,
        peek: bool = False,
        adapter: str = "",
    ) -> Decision:
        """As `decide_only`; the event loop goes on while KIFF is asked."""
        attempt = self._attempt(Call(tool, args, call_id, session, trace, fail_closed, adapter, settles))
        return (await adrive(self._admission.decide(attempt, approval_id, peek=peek))).decision

    def settle(
        self,
        which: Decision | str,
        *,
        result: Any = MISSING,
        error: BaseException | None = None,
        status: str | None = None,
        args: Any = MISSING,
        session: str | None = None,
    ) -> Receipt | None:
        """Says how a call ended that may run. The first word stands; None for what is not open.

        Args:
            which: its decision, the id of its receipt, or its call id.
            result: what the tool gave; its digest is kept, itself not.
            error: what the tool raised.
            status: succeeded, failed, cancelled, unknown or not_run, if neither says so. Another word is `unknown`.
            args: what was really executed: another digest than decided on is an integrity violation.
            session: of the call id.
        """
        attempt = self._admission.find(which, session)
        return drive(self._admission.settle(attempt, status, result, error, args))

    async def asettle(
        self,
        which: Decision | str,
        *,
        result: Any = MISSING,
        error: BaseException | None = None,
        status: str | None = None,
        args: Any = MISSING,
        session: str | None = None,
    ) -> Receipt | None:
        """As `settle`, for event loops."""
        attempt = self._admission.find(which, session)
        return await adrive(self._admission.settle(attempt, status, result, error, args))

    def observe(
        self, tool: str, args: Any, *, call_id: str | None = None, session: str | None = None, adapter: str = ""
    ) -> None:
        """Records a call that runs anyway, and never stops it. How it ends is not known to this verb: `unknown`."""
        attempt = self._decided(Call(tool, args, call_id, session, adapter=adapter), Decision(OBSERVED))
        self._core.learn(attempt)
        drive(self._admission.settle(attempt, UNKNOWN))

    def record_executed(
        self,
        tool: str,
        args: Any,
        decision: Decision,
        *,
        result: Any = MISSING,
        error: BaseException | None = None,
        status: str | None = None,
        call_id: str | None = None,
        session: str | None = None,
        adapter: str = "",
    ) -> None:
        """Records that a decided call was let go. Without result, error or status nobody knows how it ended."""
        known = status is not None or error is not None or result is not MISSING
        attempt = self._recorded(Call(tool, args, call_id, session, adapter=adapter), decision)
        drive(self._admission.settle(attempt, status if known else UNKNOWN, result, error))

    def record_withheld(
        self,
        tool: str,
        args: Any,
        decision: Decision,
        *,
        call_id: str | None = None,
        session: str | None = None,
        adapter: str = "",
    ) -> None:
        """Records that a decided call did not run. What this guard withheld itself is recorded already."""
        attempt = self._recorded(Call(tool, args, call_id, session, adapter=adapter), decision)
        drive(self._admission.settle(attempt, NOT_RUN))

    def _recorded(self, call: Call, decision: Decision) -> Attempt | None:
        """The open call of this guard's own decision; a new one for a decision that somebody else made."""
        return self._admission.find(decision, call.session) if decision.receipt_id else self._decided(call, decision)

    def _decided(self, call: Call, decision: Decision) -> Attempt:
        attempt = self._attempt(call)
        self._core.attempts.number(attempt)
        attempt.decision = decision
        return attempt

    # Between two processes

    def keep(self, which: Decision | str, *, session: str | None = None) -> dict[str, Any]:
        """An open call as JSON, for another process to settle it: this guard lets go of it. No argument is in it.

        Raises:
            KeyError: nothing of that name is open.
        """
        attempt = self._admission.find(which, session)
        if attempt is None or not attempt.close():
            raise KeyError(f"no open call `{which if isinstance(which, str) else which.receipt_id}`")
        self._core.attempts.left(attempt)
        return attempt.as_dict()

    def adopt(self, kept: dict[str, Any]) -> str:
        """Takes over a call that another process kept, and gives the id of its receipt: settle it by that.

        Raises:
            ConfigurationError: this is not what `keep` gave.
        """
        attempt = Attempt.of(kept)
        drive(self._core.opened(attempt))
        return attempt.receipt_id

    # What is open

    def pending(self) -> list[Decision]:
        """The decisions of the calls that may run and are not settled yet."""
        return [attempt.decision for attempt in self._core.attempts.all()]

    def flush(self) -> None:
        """Settles as `unknown` what frameworks never settled, and sends and writes again what could not be before.

        Raises:
            LedgerError: receipts still cannot be written down.
        """
        drive(self._core.flush())

    async def aflush(self) -> None:
        """As `flush`, for event loops."""
        await adrive(self._core.flush())

    def close(self) -> None:
        """Settles all that is open and closes the ledger.

        Raises:
            LedgerError: receipts still cannot be written down.
        """
        try:
            drive(self._core.flush(running=True))
        finally:
            close = getattr(self.ledger, "close", None)
            if close is not None:
                close()

    def __enter__(self) -> Guard:
        return self

    def __exit__(self, *about: object) -> None:
        self.close()

    # Any function

    @overload
    def wrap(self, fn: Function) -> Function: ...
    @overload
    def wrap(
        self,
        fn: None = None,
        *,
        tool: str | None = None,
        on_hold: Callable[[Decision], Any] | None = None,
        leave_out: Iterable[str] = (),
    ) -> Callable[[Function], Function]: ...
    def wrap(
        self,
        fn: Any = None,
        *,
        tool: str | None = None,
        on_hold: Callable[[Decision], Any] | None = None,
        leave_out: Iterable[str] = (),
    ) -> Any:
        """Guards a function, whatever calls it: sync, async, generator or async generator. Its signature stays.

        Args:
            tool: the tool's name; the function's own if not given.
            on_hold: what a withheld call answers instead of raising `Hold`, such as `Decision.explain`.
            leave_out: parameters that are the framework's and no part of the call: a context, an agent.
        """
        from kiff_guard.wrapping import wrapped

        if fn is None:
            return lambda given: self.wrap(given, tool=tool, on_hold=on_hold, leave_out=leave_out)
        return wrapped(self, fn, tool or _name(fn), on_hold or self._on_hold, frozenset(leave_out))

    # KIFF beside decisions

    def connect(
        self, adapter: str, project: str = "", environment: str = "", workflow: str = "", sdk_version: str = ""
    ) -> Any:
        """Tells KIFF that this guard runs; the key may say which agent it stands beside."""
        told = self._client_for("connect_guard")(
            agent_id=self.agent, adapter=adapter, mode=self.mode, project=project, environment=environment,
            workflow=workflow, sdk_version=sdk_version or VERSION,
        )  # fmt: skip
        self.agent = self.agent or told.agent_id
        return told

    def save_draft(self, domain_name: str) -> Any:
        """Saves a starter kiff.yaml of what was seen as the tenant's draft, for people to fill in and activate."""
        from kiff_guard.draft import export_yaml

        return self._client_for("save_draft")(export_yaml(domain_name, self.catalog))

    def observe_push(
        self, adapter: str, project: str = "", environment: str = "", workflow: str = "", sdk_version: str = ""
    ) -> Any:
        """Tells KIFF which tools were seen, how often and with which parameters; no value leaves the process."""
        from kiff_guard.observation import observations

        tool_map = getattr(self.client, "tool_map", None)
        return self._client_for("observe_guard")(
            agent_id=self.agent, adapter=adapter, mode=self.mode, tools=observations(self.catalog, tool_map),
            project=project, environment=environment, workflow=workflow, sdk_version=sdk_version or VERSION,
        )  # fmt: skip

    def _client_for(self, verb: str) -> Callable[..., Any]:
        call = getattr(self.client, verb, None)
        if call is None:
            raise ConfigurationError(
                f"client: `{verb}` needs a client that has it, such as HTTPClient(api_key, tool_map)"
            )
        return call  # type: ignore[no-any-return]

    # Taint

    def start_run(self, run_id: str = "") -> None:
        """A new run: nothing untrusted was read in it yet."""
        self._taint.start(run_id)

    def mark_untrusted_input(self, source: str = "") -> None:
        """The run has read what somebody outside may have written."""
        self._taint.untrusted = True

    def mark_sensitive_read(self, source: str = "") -> None:
        """The run has read what must not leave."""
        self._taint.sensitive = True

    @property
    def session(self) -> str:
        """What call ids belong to, as it was made with; "" if it was not said."""
        return self._admission.session

    @property
    def run_id(self) -> str:
        return self._taint.run_id

    @property
    def untrusted_input(self) -> bool:
        return self._taint.untrusted

    @property
    def sensitive_read(self) -> bool:
        return self._taint.sensitive

    @property
    def run_context(self) -> dict[str, Any] | None:
        """What KIFF is told of the run beside the call; None if this guard keeps no such account."""
        return self._taint.context()

    # Inside

    def _attempt(self, call: Call) -> Attempt:
        if not self._at_exit:
            import atexit

            self._at_exit = True
            atexit.register(_close, weakref.ref(self))
        return self._admission.attempt(self.agent, call)


def _name(fn: Any) -> str:
    """A function's name; that of the function in a `partial`; that of the class of anything else that can be called."""
    return getattr(fn, "__name__", "") or getattr(getattr(fn, "func", None), "__name__", "") or type(fn).__name__


def _close(guard: weakref.ref[Guard]) -> None:
    alive = guard()
    if alive is None:
        return
    try:
        alive.flush()
    except LedgerError as error:
        alarm("the process ends: %s", error)
