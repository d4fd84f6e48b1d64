# SPDX-License-Identifier: Apache-2.0
"""How every call of an administrator begins and ends: who it is, whether the role is enough, and
which status an error of the store is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn, TypeVar

from agent.edge import clock
from controller.bounds import OutOfBounds
from controller.config import ControllerConfig
from controller.records import Actor, Labels, LabelsJudged
from controller.revising import Reviser
from controller.roles import REQUIRED, may
from controller.services.callers import (
    Caller,
    Code,
    Context,
    admitted,
    refuse,
    refuse_storage,
    stored,
)
from controller.services.issuing import Issuer
from controller.services.limits import RefusalLimits
from controller.services.publisher import Publisher
from controller.spiffe import Kind, NotASubject, parse
from controller.storage import Conflict, NotFound, Refused, Storage, StorageError

T = TypeVar("T")
READY_SECONDS = 10.0
TRIES = 3
"""To decide a change again, if somebody else came first."""
_SHOWN = 200
"""Of what a refused call was about, in the audit log."""

Reasons = Mapping[type[StorageError], tuple[Code, str]]
_REASONS: Reasons = {
    Conflict: (Code.ABORTED, "CONFLICT"),
    NotFound: (Code.NOT_FOUND, "UNKNOWN"),
    Refused: (Code.FAILED_PRECONDITION, "REFUSED"),
}


@dataclass(frozen=True, slots=True)
class Tools:
    """What the methods work with."""

    config: ControllerConfig
    storage: Storage
    issuer: Issuer
    publisher: Publisher


class Calls:
    """Base of the servicer's parts."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._stopping = asyncio.Event()
        self._limits = RefusalLimits()
        self._reviser = Reviser(tools.storage)
        # What takes long has threads of its own, so that nothing else waits for one, and changes
        # do not wait for those who only ask.
        self._writer = ThreadPoolExecutor(1, "cordon-admin-write")
        self._reader = ThreadPoolExecutor(1, "cordon-admin-read")

    @property
    def _storage(self) -> Storage:
        return self._tools.storage

    async def stop(self) -> None:
        """Streams that would go on end; what has not begun does not."""
        self._stopping.set()
        for executor in (self._writer, self._reader):
            executor.shutdown(wait=False, cancel_futures=True)

    async def _enter(self, context: Context, method: str, object_: str = "") -> Caller:
        """Who calls, if the role is enough; else the call ends here and is in the audit log."""
        who = await admitted(context, self._storage, Kind.ADMINISTRATOR)
        if not may(who.role, method):
            if wait := self._limits.attempt(who.spiffe_id):
                sentence = f"too many refused calls; try again in {wait:.0f} s"
                await refuse(context, Code.RESOURCE_EXHAUSTED, "RATE_LIMITED", sentence, wait)
            note = (who.actor, method, _clip(object_), "ROLE_TOO_LOW", now())
            await stored(context, self._storage.note_refused, *note)
            role = who.role.name.lower() if who.role is not None else ""
            needed = REQUIRED[method].name.lower()
            sentence = f"{method} needs the role {needed}, {who.name} is {role}"
            await refuse(
                context, Code.PERMISSION_DENIED, "ROLE_TOO_LOW", sentence, role=role, needed=needed
            )
        await stored(context, self._storage.note_administrator_seen, who.name, now())
        return who

    async def _ask(
        self,
        context: Context,
        method: Callable[..., T],
        *arguments: Any,
        reasons: Reasons | None = None,
        on: Executor | None = None,
    ) -> T:
        """A method of the store, in a thread; its errors end the call. reasons: not the usual."""
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(on, partial(method, *arguments))
        except StorageError as error:
            await refuse_error(context, error, reasons)

    async def _change(
        self,
        context: Context,
        method: Callable[..., T],
        who: Actor,
        why: str,
        *arguments: Any,
        reasons: Reasons | None = None,
    ) -> T:
        """As `_ask`, for what is `method(..., actor, why, now)`."""
        return await self._ask(context, method, *arguments, who, why, now(), reasons=reasons)

    async def _refuse_ties(
        self, context: Context, host: str, before: Labels, after: Labels
    ) -> LabelsJudged:
        """If two workloads that may not run on one host by the labels that it has, may by these."""
        find = self._reviser.ties_by_labels
        judged, ties = await self._ask(context, find, host, before, after, now(), on=self._writer)
        if ties:
            more = f"; and {len(ties) - 1} more" if len(ties) > 1 else ""
            sentence = f"with these labels {min(ties).message}{more}"
            await refuse(context, Code.FAILED_PRECONDITION, "TIE", sentence)
        return judged

    async def _ready(self, context: Context) -> None:
        """The fleet is loaded here, up to the store's newest version."""
        publisher = self._tools.publisher
        if not await publisher.ready(READY_SECONDS):
            sentence = "this controller has no policy yet"
            await refuse(context, Code.UNAVAILABLE, "STORE", sentence, 1.0)
        try:
            await publisher.catch_up()
        except StorageError as error:
            await refuse_storage(context, error)


async def refuse_error(
    context: Context,
    error: StorageError,
    reasons: Reasons | None = None,
) -> NoReturn:
    """As the kind of the error says, by its own name or by a base's."""
    known = {**_REASONS, **(reasons or {})}
    for kind in type(error).__mro__:
        if kind in known:
            code, reason = known[kind]
            await refuse(context, code, reason, str(error))
    await refuse_storage(context, error)


@contextlib.asynccontextmanager
async def within_bounds(context: Context) -> AsyncIterator[None]:
    """What raises OutOfBounds in here ends the call."""
    try:
        yield
    except OutOfBounds as error:
        await refuse(context, Code.INVALID_ARGUMENT, "BOUNDS", str(error))


def now() -> int:
    return int(clock.unix_seconds())


def person(who: str) -> str:
    """The name in a SPIFFE ID; what is none stays as it is."""
    try:
        return parse(who).name
    except NotASubject:
        return who


def _clip(text: str) -> str:
    """Of a caller who may not even ask; it goes into a log."""
    return "".join(c if c.isprintable() else "?" for c in text[:_SHOWN])
