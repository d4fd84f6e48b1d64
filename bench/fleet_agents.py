# SPDX-License-Identifier: Apache-2.0
"""Many agents in one process: `python -m bench.fleet_agents FOLDER INDEX COUNT`, driven by lines of
JSON on stdin, answering with lines of JSON: for each kind of message that was asked for, the moment
at which each agent had it.

Each is a real mTLS stream of its own connection and says what an agent says. It verifies nothing
and compiles nothing: what an agent does with a policy is measured elsewhere.
"""

from __future__ import annotations

import asyncio
import gc
import json
import pickle
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from agent.pb import policy_pb2 as pb
from bench.fleet_store import IDENTITIES
from tests.control.fleet import Identity

METHOD = "/cordon.v1.PolicyService/Sync"
OPTIONS = (("grpc.max_receive_message_length", 65 * 1024 * 1024),
           ("grpc.use_local_subchannel_pool", 1),
           ("grpc.enable_retries", 0),
           ("grpc.initial_reconnect_backoff_ms", 100),
           ("grpc.keepalive_time_ms", 30_000))  # fmt: skip
failed: Counter[str] = Counter()
"""Attempts, by how they ended."""
FIRST_BACKOFF, LAST_BACKOFF = 0.5, 60.0
YOUNG = 100_000
"""Objects after which garbage is looked for. At Python's 700, a third of what thousands of agents
in one process cost was that; an agent of its own has no such heap."""


class Agent:
    """Comes back by itself, with jittered backoff, as the contract says."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._policy = pb.HeldPolicy()
        self._record = 0
        self._keys = pb.HeldKeys()
        self._waits: dict[str, asyncio.Future[float]] = {}
        self._sequence = 0
        self._spread = 0.0
        self._heartbeat = 15
        self._writing = asyncio.Lock()

    def wait(self, kind: str) -> asyncio.Future[float]:
        """When a message of this kind comes next, and is answered."""
        found = self._waits[kind] = asyncio.get_running_loop().create_future()
        return found

    async def run(self, address: str, start: float) -> None:
        """start: seconds from now to its first attempt."""
        await asyncio.sleep(start)
        failures = 0
        while True:
            least = 0.0
            try:
                least = await self._stream(address)
                failures = 0
            except grpc.aio.AioRpcError as error:
                failures += 1
                failed[f"{error.code().name} {error.details()}"[:60]] += 1
            most = min(LAST_BACKOFF, max(FIRST_BACKOFF * 2 ** min(failures, 10), self._spread))
            await asyncio.sleep(least + random.uniform(0, max(most, least)))

    async def _stream(self, address: str) -> float:
        """One connection. Seconds to wait at least before the next."""
        one = self._identity
        credentials = grpc.ssl_channel_credentials(one.roots, one.key, one.chain)
        async with grpc.aio.secure_channel(address, credentials, OPTIONS) as channel:
            call: Any = channel.stream_stream(METHOD)()
            await self._say(call, pb.AgentUp(hello=self._hello()))
            beats = asyncio.create_task(self._beat(call))
            try:
                while (data := await call.read()) is not grpc.aio.EOF:
                    least = await self._hear(call, pb.ControllerDown.FromString(data))
                    if least is not None:
                        return least
                return 0.0
            finally:
                beats.cancel()

    async def _beat(self, call: Any) -> None:
        while True:
            await asyncio.sleep(self._heartbeat * random.uniform(0.8, 1.2))
            self._sequence += 1
            beat = pb.Heartbeat(sequence=self._sequence)
            await self._say(call, pb.AgentUp(heartbeat=beat))

    async def _say(self, call: Any, up: pb.AgentUp) -> None:
        """One after the other: grpc takes one write of a call at a time."""
        async with self._writing:
            await call.write(up.SerializeToString())

    def _hello(self) -> pb.Hello:
        hello = pb.Hello(
            protocol=1,
            host=self._identity.number,
            host_name=self._identity.name,
            instance_id=self._identity.name.encode().ljust(16)[:16],
            agent_version="bench",
            host_record_serial=self._record,
            keys=self._keys,
            policy_keys_serial=1,
        )
        if self._policy.version:
            hello.policy.CopyFrom(self._policy)
        return hello

    async def _hear(self, call: Any, down: pb.ControllerDown) -> float | None:
        kind = down.WhichOneof("message")
        if kind == "welcome":
            self._spread = down.welcome.spread_ms / 1000
            self._heartbeat = down.welcome.heartbeat_seconds
        if kind in ("host_record", "keys", "policy"):
            ack = self._take(kind, getattr(down, kind))
            await self._say(call, pb.AgentUp(ack=ack))
        self._done(kind or "")
        return down.going_away.retry_after_ms / 1000 if kind == "going_away" else None

    def _done(self, kind: str) -> None:
        found = self._waits.get(kind)
        if found is not None and not found.done():
            found.set_result(time.monotonic())

    def _take(self, kind: str, body: Any) -> pb.Ack:
        if kind == "host_record":
            self._record = pb.HostRecord.FromString(body.record.payload).serial
        elif kind == "keys":
            keys = pb.HostKeys.FromString(body.keys.payload)
            last = max((key.epoch for key in keys.receive_secrets), default=0)
            self._keys = pb.HeldKeys(
                serial=keys.serial, last_epoch=max(last, self._keys.last_epoch)
            )
        else:
            release = pb.Release.FromString(body.release.payload)
            self._policy = pb.HeldPolicy(
                store_epoch=release.store_epoch,
                version=release.version,
                content_digest=release.content_digest,
                expires=release.expires,
            )
            return pb.Ack(nonce=body.nonce, version=release.version)
        return pb.Ack(nonce=body.nonce)


async def tell(index: int, what: str, waits: Sequence[asyncio.Future[float]]) -> None:
    """For who waits: how many are done."""
    while True:
        await asyncio.sleep(10)
        count = sum(wait.done() for wait in waits)
        print(f"{index}: {what}: {count} of {len(waits)}; {dict(failed)}", file=sys.stderr)


async def main(folder: Path, index: int, count: int) -> None:
    agents = [Agent(one) for one in pickle.loads((folder / IDENTITIES).read_bytes())[index::count]]
    running: list[asyncio.Task[None]] = []
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 20)
    while line := await asyncio.to_thread(sys.stdin.readline):
        command = json.loads(line)
        if command["do"] == "connect":
            starts = [random.uniform(0, command["seconds"]) for _ in agents]
            running = [
                asyncio.create_task(agent.run(command["address"], start))
                for agent, start in zip(agents, starts, strict=True)
            ]
        done = []
        waits = {kind: [agent.wait(kind) for agent in agents] for kind in command["until"]}
        for kind, futures in waits.items():
            telling = asyncio.create_task(tell(index, f"{command['do']}, {kind}", futures))
            done.append(await asyncio.gather(*futures))
            telling.cancel()
        print(json.dumps(done), flush=True)
    for task in running:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
