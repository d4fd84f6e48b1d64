# SPDX-License-Identifier: Apache-2.0
"""What streams say of their hosts: for the rollout, for the store, for the log."""

from __future__ import annotations

from agent.edge import logs
from controller.records import Seen
from controller.services.claiming import Claims
from controller.services.publisher import Publisher
from controller.services.seeing import Watcher
from controller.services.stream_codec import Greeting, Reported
from controller.sync import Stream
from controller.talk import Hello, NoteRefused


class Notes:
    """One per controller."""

    def __init__(self, publisher: Publisher, watcher: Watcher, claims: Claims) -> None:
        self._publisher = publisher
        self._watcher = watcher
        self._claims = claims

    def connected(self, greeting: Greeting, stream: Stream) -> None:
        name = greeting.hello.name
        held = stream.held.order if stream.held is not None else (0, 0)
        self._publisher.rollout.connected(name, held)
        self._claims.gone(name)
        self._watcher.connected(name, self._publisher.desk.unix, greeting.agent_version)
        if greeting.hello.refused is not None:
            said = greeting.hello.refused
            order = (said.store_epoch, said.version)
            self.refused(name, NoteRefused(order, said.message))

    def behind(self, hello: Hello, message: str) -> None:
        """The host holds what the store never made: its epoch is what an operator has to exceed."""
        logs.write("error", "STORE_BEHIND", [("host", hello.name), ("why", message)])
        held = max((h.order for h in (hello.policy, hello.unconfirmed) if h), default=(0, 0))
        seen = Seen(self._publisher.desk.unix, "", "", held[0], held[1], trouble=message)
        self._watcher.refused(hello.name, seen)

    def enforced(self, name: str, order: tuple[int, int]) -> None:
        self._publisher.rollout.enforced(name, order)
        at = self._publisher.desk.unix
        self._watcher.enforced(name, at, order)

    def refused(self, name: str, said: NoteRefused) -> None:
        fields = [("host", name), ("version", said.order[1]), ("reason", said.message)]
        logs.write("warning", "a host refused what it was sent", fields)
        if said.order == (0, 0):
            return
        self._publisher.rollout.refused(name, said.order, said.message)
        at = self._publisher.desk.unix
        self._watcher.told(name, at, refused_version=said.order[1], refused=said.message)

    def reported(self, name: str, host: int, report: Reported) -> None:
        """host: its number."""
        at = self._publisher.desk.unix
        self._watcher.told(name, at, report=report.body, trouble=report.trouble)
        self._claims.reported(name, host, report.addresses)

    def gone(self, name: str) -> None:
        self._publisher.rollout.gone(name)
        self._watcher.gone(name, self._publisher.desk.unix)
        self._claims.gone(name)
