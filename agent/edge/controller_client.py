# SPDX-License-Identifier: Apache-2.0
"""One policy stream over mutual TLS: bytes out, bytes in, and why it ended. Decides nothing.

Each stream has a connection of its own: a new stream is to prove that the policy in force lets a
new connection through.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from dataclasses import dataclass

import grpc
import grpc.aio

from agent.edge.enrolment_client import credentials_of, details_of
from agent.edge.identity_files import Identity

METHOD = "/cordon.v1.PolicyService/Sync"
MAX_BYTES = 65 * 1024 * 1024
MAX_WAITING = 256
"""Messages that wait to be sent; an agent that has said so much unheard is not heard."""
ASK_SECONDS = 30.0
_NEVER = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED)
_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", MAX_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.enable_retries", 0),
)


@dataclass(frozen=True, slots=True)
class Ending:
    """reason: of ErrorInfo, or the status's name."""

    reason: str
    sentence: str
    retry_seconds: float = 0.0


class AskFailed(Exception):
    """There is no answer. final: the same will never get one."""

    def __init__(self, sentence: str, *, final: bool = False) -> None:
        super().__init__(sentence)
        self.final = final


class ControllerStream:
    """`heard` for every message and then `ended`, once; neither after `close`."""

    def __init__(self, heard: Callable[[bytes], None], ended: Callable[[Ending], None]) -> None:
        self._heard = heard
        self._ended = ended
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(MAX_WAITING)
        self._task: asyncio.Task[None] | None = None
        self._channel: grpc.aio.Channel | None = None
        self._closed = False

    def open(self, controller: str, identity: Identity, hello: bytes) -> None:
        self.say(hello)
        self._task = asyncio.create_task(self._run(controller, identity))

    def say(self, data: bytes) -> None:
        try:
            self._waiting.put_nowait(data)
        except asyncio.QueueFull:
            self._end(Ending("SLOW", f"{MAX_WAITING} messages wait to be sent"))

    async def ask(self, method: str, data: bytes) -> bytes:
        """Another call over the same connection. Raises AskFailed."""
        if self._channel is None or self._closed:
            raise AskFailed("the stream to the controller is not open")
        try:
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(method)
            return await call(data, timeout=ASK_SECONDS)
        except grpc.aio.AioRpcError as error:
            final = error.code() in _NEVER
            raise AskFailed(f"{error.code().name}: {error.details()}", final=final) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise AskFailed("the stream to the controller was closed") from None

    def close(self) -> None:
        """Once: a second cancellation would break off the closing of the channel."""
        if self._closed:
            return
        self._closed = True
        if self._task is not None:
            self._task.cancel()

    async def wait_closed(self) -> None:
        """After `close`: the connection is gone."""
        task, self._task = self._task, None
        if task is not None:
            await asyncio.gather(task, return_exceptions=True)
            del task
            gc.collect()  # measured: grpc keeps it open as long as a cycle holds the ended call

    def _end(self, ending: Ending) -> None:
        if not self._closed:
            self.close()
            self._ended(ending)

    async def _run(self, controller: str, identity: Identity) -> None:
        channel = grpc.aio.secure_channel(controller, credentials_of(identity), _OPTIONS)
        self._channel = channel
        try:
            call: grpc.aio.StreamStreamCall = channel.stream_stream(METHOD)()
            writer = asyncio.create_task(self._write(call))
            try:
                ending = await self._read(call)
            finally:
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)
                call.cancel()
        finally:
            self._channel = None
            await channel.close()
        self._end(ending)

    async def _write(self, call: grpc.aio.StreamStreamCall) -> None:
        while True:
            await call.write(await self._waiting.get())

    async def _read(self, call: grpc.aio.StreamStreamCall) -> Ending:
        try:
            while (data := await call.read()) is not grpc.aio.EOF:
                if self._closed:
                    break
                assert isinstance(data, bytes), "no deserialiser was given"
                self._heard(data)
        except grpc.aio.AioRpcError as error:
            reason, retry = details_of(error)
            return Ending(reason or error.code().name, error.details() or "", retry)
        return Ending("ENDED", "the controller ended the stream")
