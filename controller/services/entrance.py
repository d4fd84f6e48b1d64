# SPDX-License-Identifier: Apache-2.0
"""Who may have a policy stream: from the first bytes on a call to a stream that greets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import grpc
import grpc.aio

from controller.needs import store_behind
from controller.services.callers import (
    Caller,
    Code,
    Context,
    identified,
    refuse,
    refuse_revoked,
    refuse_storage,
)
from controller.services.noting import Notes
from controller.services.publisher import Publisher
from controller.services.session import ended
from controller.services.stream_codec import BadMessage, Greeting, decode
from controller.spiffe import Kind
from controller.storage import StorageError
from controller.sync import Stream

HELLO_SECONDS = 30.0
READY_SECONDS = 10.0
RETRY_SECONDS = 1.0


class Entered(NamedTuple):
    """Who, what they said first, and the contract's order from here on."""

    who: Caller
    greeting: Greeting
    stream: Stream


class Entrance:
    """full: whether this controller takes no more."""

    def __init__(self, publisher: Publisher, notes: Notes, full: Callable[[], bool]) -> None:
        self._publisher = publisher
        self._notes = notes
        self._full = full

    async def enter(self, context: Context) -> Entered:
        """Ends the call of who may not."""
        # Heard before anybody is refused: a client whose first message finds its call ended already
        # is told by its own grpc of an internal error, and not why.
        first = await _first_message(context)
        if not await self._publisher.ready(READY_SECONDS):
            sentence = "this controller has no policy yet"
            await refuse(context, Code.UNAVAILABLE, "STORE", sentence, RETRY_SECONDS)
        who = await self._admitted(context)
        greeting = await _greeting(context, first)
        return Entered(who, greeting, await self._greeted(context, who, greeting))

    async def _admitted(self, context: Context) -> Caller:
        who = await identified(context, Kind.HOST)
        if self._full():
            sentence = "this controller takes no more streams now"
            await refuse(context, Code.UNAVAILABLE, "FULL", sentence, RETRY_SECONDS)
        if self._publisher.desk.record(who.name) is None:  # it may be newer than what we know
            await self._catch_up(context)
        if is_revoked(self._publisher, who):
            await refuse_revoked(context, who)
        return who

    async def _catch_up(self, context: Context) -> None:
        try:
            await self._publisher.catch_up()
        except StorageError as error:
            await refuse_storage(context, error)

    async def _greeted(self, context: Context, who: Caller, greeting: Greeting) -> Stream:
        desk, hello = self._publisher.desk, greeting.hello
        record = desk.record(who.name)
        earlier = record is not None and record.host != hello.host
        if earlier or store_behind(hello, desk):  # or only this controller is
            await self._catch_up(context)
            record = desk.record(who.name)
        if record is None:
            await refuse_revoked(context, who)
        stream = Stream(record.host, record.name, desk)
        end = ended(stream.greet(hello, self._publisher.tick()))
        if end is not None:
            if end.reason == "STORE_BEHIND":
                self._notes.behind(hello, end.message)
            await refuse(context, grpc.StatusCode[end.status], end.reason, end.message)
        return stream


def is_revoked(publisher: Publisher, who: Caller) -> bool:
    return who.serial in publisher.revoked.serials or publisher.desk.record(who.name) is None


async def _first_message(context: Context) -> bytes | None:
    """None: there was none in time."""
    try:
        async with asyncio.timeout(HELLO_SECONDS):
            data = await context.read()
    except TimeoutError:
        return None
    return None if data is grpc.aio.EOF else data


async def _greeting(context: Context, data: bytes | None) -> Greeting:
    if data is None:
        sentence = f"Hello comes first, within {HELLO_SECONDS:.0f} s"
        await refuse(context, Code.INVALID_ARGUMENT, "PROTOCOL", sentence)
    try:
        event = decode(data)
    except BadMessage as error:
        await refuse(context, Code.INVALID_ARGUMENT, "PROTOCOL", str(error))
    if not isinstance(event, Greeting):
        await refuse(context, Code.INVALID_ARGUMENT, "PROTOCOL", "Hello comes first")
    return event
