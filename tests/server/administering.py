# SPDX-License-Identifier: Apache-2.0
"""Administrators of each role at a running controller, and hosts that follow its policy."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from agent.core.content import Section
from agent.pb import admin_pb2 as pb
from agent.pb import admin_pb2_grpc, enrolment_pb2, policy_pb2, snapshot_pb2
from controller.access_records import HostGrant, Role
from controller.storage import Storage
from tests.control import fleet
from tests.control.agent import Agent, Held, Refused, reason_of
from tests.lab.waiting import wait_until
from tests.server import client
from tests.server.client import Refusal
from tests.server.served import Served
from tests.unit.policies import BASE, WEB_TO_DB

POLICY = BASE + WEB_TO_DB
ALLOW = (
    "kind: Allow\nname: {name}\nfrom: {{workload: web}}\nto: {{workload: db}}\nports: [{port}]\n"
)
COMMENTED = "# who may see the cache\n" + ALLOW.format(name="extra", port="tcp/1") + "# end\n"
PATIENCE = 60.0


def file(text: str, name: str = "p.yaml") -> pb.PolicyFile:
    return pb.PolicyFile(name=name, content=text.encode())


def kinds(answer: Any) -> dict[str, int]:
    """What happened to each document of an answer's changes, by kind and name."""
    return {f"{one.kind}/{one.name}": one.change for one in answer.changes}


def problems(answer: Any) -> list[tuple[str, int, str, str]]:
    """File, line, field and message of each."""
    return [(p.file, p.line, p.field, p.message) for p in answer.problems]


@dataclass
class Administrator:
    """One role's stub. `stub` is AdminService's."""

    name: str
    channel: grpc.Channel
    stub: admin_pb2_grpc.AdminServiceStub

    def __call__(self, method: str, **fields: Any) -> Any:
        """A unary call."""
        request = getattr(pb, f"{method}Request")(**fields)
        return getattr(self.stub, method)(request, timeout=client.DEADLINE)

    def refused(self, method: str, **fields: Any) -> Refusal:
        """What a call ends with that must not succeed."""
        return refusal(lambda: self(method, **fields))

    def apply(self, *files: pb.PolicyFile, why: str = "test", **head: Any) -> pb.ApplyResponse:
        parts = [pb.ApplyRequest(head=pb.ApplyHead(why=why, **head))]
        parts += [pb.ApplyRequest(file=one) for one in files]
        return self.stub.Apply(iter(parts), timeout=client.DEADLINE)

    def policy(self, text: str, **head: Any) -> pb.ApplyResponse:
        """Applied, without problems."""
        answer = self.apply(file(text), **head)
        assert not answer.problems, answer
        return answer

    def diff(self, *files: pb.PolicyFile, **head: Any) -> pb.DiffResponse:
        parts = [pb.DiffRequest(head=pb.DiffHead(**head))]
        parts += [pb.DiffRequest(file=one) for one in files]
        return self.stub.Diff(iter(parts), timeout=client.DEADLINE)

    def documents(self, *names: tuple[str, str], revision: int = 0) -> dict[str, str]:
        asked = [pb.DocumentName(kind=kind, name=name) for kind, name in names]
        request = pb.GetDocumentsRequest(documents=asked, revision=revision)
        found = self.stub.GetDocuments(request, timeout=client.DEADLINE)
        return {f"{one.kind}/{one.name}": one.text for one in found}

    def rollout(self, version: int = 0) -> pb.WatchRolloutResponse:
        """The last that is told."""
        request = pb.WatchRolloutRequest(version=version)
        return list(self.stub.WatchRollout(request, timeout=PATIENCE))[-1]


def refusal(call: Callable[[], Any]) -> Refusal:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return client.refusal(caught.value)


@contextlib.contextmanager
def administrator(
    served: Served, storage: Storage, role: Role, name: str = ""
) -> Iterator[Administrator]:
    """Logged in as one would be."""
    name, roots, key = name or role.name.lower(), client.roots(storage), client.new_key()
    token = client.login_token(storage, name, role, int(time.time()))
    shown = client.identity(key, client.login(served, roots, token, key).credentials)
    with client.channel(served.main, roots, shown) as channel:
        yield Administrator(name, channel, admin_pb2_grpc.AdminServiceStub(channel))


@dataclass
class Follower:
    """An agent whose stream is read by a thread until it ends. ended: code and reason."""

    agent: Agent
    refuses: bool = False
    ended: tuple[str, str] | None = None

    @property
    def rules(self) -> list[str]:
        items = self.agent.held.entries[Section.RULES].values()
        return sorted(snapshot_pb2.Rule.FromString(item).name for item in items)

    @property
    def peers(self) -> set[str]:
        items = self.agent.held.entries[Section.PEERS].values()
        return {snapshot_pb2.Peer.FromString(item).name for item in items}

    @property
    def version(self) -> int:
        return self.agent.held.release.version

    async def follow(self, address: str) -> None:
        if self.refuses:
            self.agent.take_policy = self._refuse  # type: ignore[method-assign]
        await self.agent.connect(address)
        try:
            while (down := await self.agent.read()) is not None:
                await self.agent.take(down)
            self.ended = ("OK", "")
        except grpc.aio.AioRpcError as error:
            self.ended = (error.code().name, reason_of(error))
        except Exception as error:  # whoever waits for it has to be told
            self.ended = (type(error).__name__, str(error))
            raise
        finally:
            await self.agent.close()

    def _refuse(self, update: Any) -> int:
        raise Refused(policy_pb2.NACK_REASON_KERNEL, "the kernel is full")


@dataclass
class Hosts:
    """Hosts that enrolled by tokens, and the loop in which some of them follow."""

    served: Served
    storage: Storage
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _thread: threading.Thread | None = None
    _tasks: list[Any] = field(default_factory=list)

    def __enter__(self) -> Hosts:
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._wait_for(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        assert self._thread is not None
        self._thread.join(PATIENCE)
        self._loop.close()

    async def _end(self) -> None:
        tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def enrol(
        self, name: str, address: str = "", labels: Mapping[str, str] | None = None
    ) -> fleet.Identity:
        grant = HostGrant(name, labels or {})
        return self.join(name, client.host_token(self.storage, grant, int(time.time())), address)

    def join(self, name: str, token: str, address: str = "") -> fleet.Identity:
        """By a token that is there."""
        roots, key = client.roots(self.storage), client.new_key()
        packed = [ipaddress.ip_address(address).packed] if address else []
        facts = enrolment_pb2.HostFacts(agent_version="1.2.3", kernel="6.1", addresses=packed)
        request = enrolment_pb2.EnrolRequest(token=token, csr=client.csr(key), facts=facts)
        made = client.enrol(self.served, roots, request)
        chain = made.credentials.certificate_chain
        return fleet.Identity(name, made.host, 0, chain, client.key_pem(key), roots)

    def say(self, follower: Follower, **message: Any) -> None:
        """On its stream, beside what it answers."""
        self._wait_for(follower.agent.say(**message))

    def mute(self, follower: Follower) -> None:
        """It reads on and answers nothing any more."""

        async def nothing(down: policy_pb2.ControllerDown) -> None: ...

        follower.agent.take = nothing  # type: ignore[method-assign]

    def outcome(self, agent: Agent) -> tuple[str, str]:
        """Code and reason of a stream that is not to be."""
        found: tuple[str, str] = self._wait_for(agent.outcome(f"localhost:{self.served.main}"))
        return found

    def _wait_for(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE)

    def follow(self, identity: fleet.Identity, *, refuses: bool = False) -> Follower:
        """Once it has heard of the policy."""
        keys = [row.public for row in self.storage.secrets().signing_keys]
        follower = Follower(Agent(identity, Held(keys)), refuses)
        address = f"localhost:{self.served.main}"
        asyncio.run_coroutine_threadsafe(follower.follow(address), self._loop)
        kind = "policy" if refuses else "in_sync"

        def said() -> bool:
            agent = follower.agent
            assert follower.ended is None, f"{identity.name}: {follower.ended} after {agent.kinds}"
            return kind in agent.kinds

        wait_until(said, f"a stream to say {kind}", PATIENCE)
        return follower


@contextlib.contextmanager
def three_hosts(served: Served) -> Iterator[Hosts]:
    """a runs web, b runs db, c neither; none of them follows."""
    with served.site.store() as storage, Hosts(served, storage) as made:
        made.enrol("a", "192.0.2.1", {"role": "web"})
        made.enrol("b", "192.0.2.2", {"role": "db"})
        made.enrol("c", "192.0.2.3", {"role": "other"})
        yield made
