# SPDX-License-Identifier: Apache-2.0
"""What `Control` wishes, carried out: the stream, its timers, the identity's files, the cache.

Everything short happens in the daemon's loop; what takes long comes back as a job for its worker,
so that it keeps its place behind the policy that is being applied.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import random
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from agent.core import stream
from agent.core.control import Enrolled
from agent.core.events import ControlMayBegin, Event
from agent.core.held import KeySet
from agent.core.model import IPAddress
from agent.core.stream import Timer
from agent.edge import cache_file, clock, enrolment_client, identity_files, logs, policy_cache
from agent.edge.controller_client import AskFailed, ControllerStream, Ending
from agent.edge.enrolment_client import EnrolmentError
from agent.edge.identity_files import IdentityError
from agent.edge.model_codec import SnapshotDecodeError
from agent.edge.policy_cache import PolicySource
from agent.edge.signed import SignatureRefused
from agent.edge.stream_codec import BadStream, decode, encode, key_set_of
from agent.pb.signed_pb2 import Signed

INSTANCE_BYTES = 16
_random = random.SystemRandom()
Job = Callable[[], Awaitable[Event | None]]


class ControlLink:
    """One per run. `tell` hands an event to core; called in the loop."""

    def __init__(
        self, folder: Path, cache: Path, *, lifeline: bool, tell: Callable[[Event], None]
    ) -> None:
        """lifeline: whether the agent opens the way to its controllers. Raises IdentityError."""
        self._folder = folder
        self._cache = cache
        self._identity = identity_files.load(folder)
        self._keys = self._identity.key_set.keys
        self._tell = tell
        self._lifeline = lifeline
        self._instance_id = secrets.token_bytes(INSTANCE_BYTES)
        self._stream: ControllerStream | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._timers: dict[Timer, asyncio.TimerHandle] = {}
        self._renewing: asyncio.Task[None] | None = None
        self.source = PolicySource(
            cache, self._identity.host, self._identity.key_set, self._targets
        )

    @property
    def host_name(self) -> str:
        return self._identity.host_name

    def enrolled(self) -> Enrolled:
        held = self._identity
        return Enrolled(held.host, held.host_name, held.controllers, held.key_set, held.renew_after)

    def may_begin(self) -> Event:
        return ControlMayBegin(time.monotonic(), clock.unix_seconds(), _random.random())

    def execute(self, command: stream.StreamCommand) -> Job | None:
        """A job, where it is for the worker."""
        match command:
            case stream.OpenStream():
                self._open(command)
            case stream.CloseStream():
                self._close_stream()
            case stream.Say():
                self.say(command.message)
            case stream.SetTimer():
                self._set_timer(command.timer, command.seconds)
            case stream.AssemblePolicy():
                return lambda: asyncio.to_thread(self.source.assemble, command)
            case stream.WritePolicyCache():
                return lambda: self._write_cache(command)
            case stream.WriteKeySet():
                self._keys = command.key_set.keys
                self._save(lambda: identity_files.save_key_set(self._folder, command.key_set))
            case stream.WriteControllers():
                self._take_controllers(command.controllers)
            case stream.RenewCertificate():
                self._renew()
            case _:
                raise AssertionError(f"unexpected command: {command}")
        return None

    def say(self, message: stream.Up) -> None:
        """Lost where there is no stream."""
        if self._stream is not None:
            self._stream.say(encode(message, self._instance_id))

    async def ask(self, method: str, data: bytes) -> bytes:
        """A call of another service of the controller that is heard. Raises AskFailed."""
        if self._stream is None:
            raise AskFailed("no controller is heard")
        return await self._stream.ask(method, data)

    async def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._close_stream()
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)
        await asyncio.gather(*self._closing, return_exceptions=True)

    # The stream.

    def _open(self, command: stream.OpenStream) -> None:
        self._close_stream()
        number = command.number
        self._stream = ControllerStream(
            lambda data: self._heard(number, data), lambda ending: self._ended(number, ending)
        )
        hello = encode(command.hello, self._instance_id)
        self._stream.open(command.controller, self._identity, hello)

    def _heard(self, number: int, data: bytes) -> None:
        try:
            message = decode(data, self._keys)
        except BadStream as error:
            self._close_stream()
            self._ended(number, Ending("PROTOCOL", str(error)))
            return
        if message is not None:
            moment = time.monotonic()
            self._tell(stream.StreamSaid(number, message, moment, _random.random()))

    def _ended(self, number: int, ending: Ending) -> None:
        self._tell(
            stream.StreamEnded(
                number,
                ending.reason,
                ending.sentence,
                ending.retry_seconds,
                time.monotonic(),
                _random.random(),
            )
        )

    def _close_stream(self) -> None:
        if self._stream is None:
            return
        self._stream.close()
        task = asyncio.create_task(self._stream.wait_closed())
        self._stream = None
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _set_timer(self, timer: Timer, seconds: float | None) -> None:
        before = self._timers.pop(timer, None)
        if before is not None:
            before.cancel()
        if seconds is not None:
            loop = asyncio.get_running_loop()
            self._timers[timer] = loop.call_later(max(seconds, 0.0), self._fired, timer)

    def _fired(self, timer: Timer) -> None:
        self._timers.pop(timer, None)
        self._tell(stream.TimerFired(timer, time.monotonic(), _random.random()))

    def _targets(self) -> Sequence[tuple[IPAddress, int]]:
        """In a thread: names are resolved. A name that has no address now is left out."""
        if not self._lifeline:
            return ()
        found = []
        for controller in self._identity.controllers:
            with contextlib.suppress(EnrolmentError, OSError, ValueError):
                host, port = enrolment_client.endpoint(controller)
                for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
                    text = str(info[4][0]).partition("%")[0]
                    found.append((ipaddress.ip_address(text), port))
        return found

    # Files.

    async def _write_cache(self, command: stream.WritePolicyCache) -> None:
        try:
            data = policy_cache.encode(command.stand, command.key_set)
            await asyncio.to_thread(cache_file.write_atomically, self._cache, data)
        except OSError as error:
            logs.write("warning", "cannot write the policy cache, ignoring",
                       [("path", self._cache), ("reason", error.strerror)])  # fmt: skip

    def _take_controllers(self, controllers: tuple[str, ...]) -> None:
        def save() -> None:
            identity_files.save_controllers(self._folder, self._identity, controllers)
            self._identity = identity_files.load(self._folder)

        self._save(save)

    def _save(self, write: Callable[[], None]) -> None:
        try:
            write()
        except (OSError, IdentityError) as error:
            logs.write("warning", "cannot write the host's identity, ignoring",
                       [("path", self._folder), ("reason", error)])  # fmt: skip

    # Certificates.

    def _renew(self) -> None:
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._renew_now())

    async def _renew_now(self) -> None:
        controller = _random.choice(self._identity.controllers)
        try:
            event = await asyncio.to_thread(self._renewed, controller)
        except (EnrolmentError, IdentityError, OSError, ValueError) as error:
            moment = time.monotonic()
            event = stream.CertificateNotRenewed(str(error), moment, _random.random())
        self._tell(event)

    def _renewed(self, controller: str) -> Event:
        held = self._identity
        key = identity_files.next_key(self._folder, fresh=True)
        answer = enrolment_client.renew(controller, held, key)
        self._identity = identity_files.save_renewed(self._folder, held, answer)
        key_set = None
        if answer.HasField("policy_keys"):
            key_set = self._newer_key_set(answer.policy_keys)
        return stream.CertificateRenewed(
            self._identity.renew_after, self._identity.controllers, key_set, time.monotonic()
        )

    def _newer_key_set(self, envelope: Signed) -> KeySet | None:
        """None for the one that is held, or for one that the keys here do not vouch for."""
        if envelope.SerializeToString(deterministic=True) == self._identity.key_set.envelope:
            return None
        try:
            return key_set_of(envelope, self._keys)
        except (SignatureRefused, SnapshotDecodeError) as error:
            logs.write("warning", "a set of policy keys was refused, ignoring", [("reason", error)])
            return None
