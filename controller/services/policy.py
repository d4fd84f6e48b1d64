# SPDX-License-Identifier: Apache-2.0
"""`PolicyService`: one stream per host, and what becomes of what is said on it.

Bytes go through as bytes (see stream_codec), so the service is registered without grpc's generated
serialisers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc
import grpc.aio

from agent.edge import logs
from controller import pace
from controller.admission import Admission
from controller.clones import Clones
from controller.config import ControllerConfig
from controller.services import failures
from controller.services.callers import Code, Context, refuse
from controller.services.claiming import Claims
from controller.services.confirming import Confirmations
from controller.services.entrance import RETRY_SECONDS, Entrance, is_revoked
from controller.services.noting import Notes
from controller.services.publisher import Publisher
from controller.services.seeing import Watcher
from controller.services.session import Away, Session, going, revoked
from controller.services.stream_codec import (
    BadMessage,
    Greeting,
    Reported,
    Self,
    decode,
    encode,
)
from controller.services.waking import Waker
from controller.storage import Storage
from controller.sync import Stream
from controller.talk import (
    Action,
    AwayReason,
    Changed,
    End,
    NoteEnforced,
    NoteRefused,
    SendConfirm,
)

NAME = "cordon.v1.PolicyService"
_CHANGED = Changed()


@dataclass(frozen=True, slots=True, eq=False)
class _Open:
    """A stream that was welcomed."""

    session: Session
    stream: Stream


class PolicyServicer:
    """One per controller; `publisher.streams` is this."""

    def __init__(self, config: ControllerConfig, storage: Storage, publisher: Publisher) -> None:
        self.watcher = Watcher(storage, config.name)
        self.claims = Claims(storage, publisher)
        self._notes = Notes(publisher, self.watcher, self.claims)
        self.admission: Admission[_Open] = Admission(config.max_syncing)
        self._config = config
        self._publisher = publisher
        self._open: dict[str, _Open] = {}
        self._clones = Clones()
        self._stopping = False
        self._waker = Waker(self._wake)
        self._confirmations = Confirmations()
        self._entrance = Entrance(publisher, self._notes, self._full)
        publisher.streams = self

    # The publisher's side.

    def changed(self, hosts: frozenset[str]) -> None:
        here = hosts & self._open.keys()
        self._confirmations.expect(len(here), self._publisher.desk.settings.confirm_seconds)
        self._waker.add(here)

    def _wake(self, host: str) -> None:
        one = self._open.get(host)
        if one is not None:
            self._step(one, lambda now: one.stream.handle(_CHANGED, now))

    def check_revoked(self) -> None:
        for one in list(self._open.values()):
            who = one.session.who
            record = self._publisher.desk.record(who.name)
            replaced = record is not None and record.host != one.stream.host
            if replaced or is_revoked(self._publisher, who):
                one.session.end(revoked(who))

    def count(self, state: str) -> int:
        """Streams that are "in_sync", "syncing" or "waiting"."""
        syncing, waiting = self.admission.syncing, self.admission.waiting
        numbers = {"syncing": syncing, "waiting": waiting}
        return numbers.get(state, max(0, len(self._open) - syncing - waiting))

    def end_all(self, why: str) -> None:
        for one in list(self._open.values()):
            one.session.end(going(AwayReason.SHUTDOWN, why, RETRY_SECONDS))

    async def stop(self) -> None:
        """Streams are told, and go to another controller."""
        self._stopping = True
        self.end_all("the controller is being stopped")

    def _full(self) -> bool:
        return self._stopping or len(self._open) >= self._config.max_streams

    # The agent's side.

    async def Sync(self, _: object, context: Context) -> None:
        who, greeting, stream = await self._entrance.enter(context)
        session = Session(context, who, greeting.instance)
        self._take_over(session, stream)
        if session.away is not None:
            await self._turn_away(context, session)
        one = _Open(session, stream)
        self._open[who.name] = one
        self._notes.connected(greeting, stream)
        try:
            self._welcome(one)
            await self._listen(one)
        except asyncio.CancelledError:
            if not session.interrupted():
                raise
        finally:
            self._close(one)
        await session.last_words()
        if session.away is not None:
            end = session.away.end
            retry = session.away.retry_seconds or None
            await refuse(context, grpc.StatusCode[end.status], end.reason, end.message, retry)

    def _take_over(self, session: Session, stream: Stream) -> None:
        """A newer stream of a host ends the older one; two machines that do so in turn wait."""
        name = session.who.name
        old = self._open.get(name)
        if old is None:
            return
        if old.stream.host != stream.host:  # the name has enrolled anew: no clone of what is over
            old.session.end(revoked(old.session.who))
            return
        wait = 0.0
        if old.session.instance != session.instance:
            wait = self._clones.turn(name, self._publisher.tick())
        old.session.end(going(AwayReason.REPLACED, "another stream of this host is open", wait))
        if wait:
            sentence = "two machines have the identity of this host"
            logs.write("error", sentence, [("host", name)])
            self.watcher.told(name, self._publisher.desk.unix, trouble=sentence)
            session.end(going(AwayReason.REPLACED, sentence, wait))

    def _welcome(self, one: _Open) -> None:
        self._do(one.session.who.name, one, one.stream.welcome())
        if not one.stream.wants(self._publisher.tick()) or self.admission.enter(one):
            self._begin(one)

    def _begin(self, one: _Open) -> None:
        """It is its turn, if it is still there."""
        if self._open.get(one.session.who.name) is one:
            self._step(one, one.stream.begin)

    def _leave(self, one: _Open) -> None:
        """In step, or gone. The next one's turn is the loop's, or a row of many would nest."""
        following = self.admission.leave(one)
        if following is not None:
            asyncio.get_running_loop().call_soon(self._begin, following)

    async def _turn_away(self, context: Context, session: Session) -> None:
        away = session.away
        assert away is not None, "it has a reason"
        await session.last_words()
        await refuse(context, Code.UNAVAILABLE, away.end.reason, away.end.message,
                     away.retry_seconds)  # fmt: skip

    async def _listen(self, one: _Open) -> None:
        """Until either side ends it."""
        session, stream = one.session, one.stream
        name = session.who.name
        while (data := await session.read(self._silence())) is not None:
            now = self._publisher.tick()
            unix = self._publisher.desk.unix
            if unix >= session.who.expires:
                session.end(going(AwayReason.CERTIFICATE, "the certificate has ended", 0.0))
                return
            try:
                event = decode(data)
            except BadMessage as error:
                session.end(Away(None, End("INVALID_ARGUMENT", "PROTOCOL", str(error))))
                return
            self.watcher.heard(name, unix)
            if isinstance(event, Reported):
                self._notes.reported(name, stream.host, event)
            elif isinstance(event, Greeting):
                self._do(name, one, stream.handle(event.hello, now))
            else:
                self._do(name, one, stream.handle(event, now))

    def _silence(self) -> float:
        return pace.silent_seconds(len(self._publisher.desk.records))

    def _step(self, one: _Open, step: Callable[[float], Sequence[Action]]) -> None:
        """What no rpc waits for: a fault of ours in it ends the stream, as it would end an rpc, and
        the agent comes back and asks; otherwise it would hear heartbeats and nothing else."""
        try:
            self._do(one.session.who.name, one, step(self._publisher.tick()))
        except Exception as error:
            failures.write("a stream failed inside, it is ended", error)
            end = End(
                "INTERNAL", "FAULT", "something unexpected failed in the controller; see its log"
            )
            one.session.end(Away(None, end))

    def _do(self, name: str, one: _Open, actions: Sequence[Action]) -> None:
        desk, own = self._publisher.desk, self._self()
        bodies = [body for action in actions if (body := encode(action, desk, own)) is not None]
        alone = len(bodies) == 1 and isinstance(actions[0], SendConfirm)
        if alone and self._confirmations.keep(one.session):
            one.session.keep(bodies)
        else:
            one.session.send(bodies)
        for action in actions:
            match action:
                case NoteEnforced():
                    self._notes.enforced(name, action.order)
                case NoteRefused():
                    self._notes.refused(name, action)
                case End():
                    one.session.end(Away(None, action))
        if one.stream.in_sync:
            self._leave(one)

    def _self(self) -> Self:
        config = self._config
        return Self(config.name, config.advertise, self._publisher.key_set)

    def _close(self, one: _Open) -> None:
        name = one.session.who.name
        one.session.quiet()
        self._leave(one)
        if self._open.get(name) is one:
            del self._open[name]
            self._notes.gone(name)


def add_to_server(servicer: PolicyServicer, server: grpc.aio.Server) -> None:
    """As grpc's generated function, but bytes stay bytes."""
    method: grpc.RpcMethodHandler = grpc.stream_stream_rpc_method_handler(servicer.Sync)
    handler = grpc.method_handlers_generic_handler(NAME, {"Sync": method})
    server.add_generic_rpc_handlers((handler,))
