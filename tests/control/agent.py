# SPDX-License-Identifier: Apache-2.0
"""A small agent for tests: a real mTLS stream, nothing believed that is not signed and right.

It has no kernel and no files: what it holds, it holds as a host would across connections.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2

from agent.core.content import EMPTY, Entries, Section, apply, digest
from agent.edge import content_codec, signed
from agent.pb import policy_pb2 as pb
from agent.pb import signed_pb2
from controller.records import HostRow
from controller.store import SqlStorage
from tests.control.fleet import Identity, identity

METHOD = "/cordon.v1.PolicyService/Sync"
WAIT_SECONDS = 30.0
"""For anything that the controller says: more than a loaded machine needs."""
OPTIONS = (("grpc.max_receive_message_length", 65 * 1024 * 1024),)


class Refused(ValueError):
    """A NACK: reason by the contract's number."""

    def __init__(self, reason: int, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass
class Held:
    """Across connections."""

    policy_keys: list[bytes]
    record: pb.HostRecord = field(default_factory=pb.HostRecord)
    release: pb.Release = field(default_factory=pb.Release)
    entries: Entries = field(default_factory=lambda: EMPTY)
    keys: dict[tuple[int, int], bytes] = field(default_factory=dict)
    serial: int = 0


@dataclass
class Agent:
    """kinds: what was heard on this stream. bodies: how policy came."""

    identity: Identity
    held: Held
    instance: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    kinds: list[str] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)
    away: pb.GoingAway | None = None
    welcome: pb.Welcome | None = None
    options: tuple[tuple[str, int], ...] = OPTIONS
    _channel: grpc.aio.Channel | None = None
    _call: Any = None

    async def connect(self, address: str, hello: pb.Hello | None = None) -> None:
        await self.close()
        self.kinds, self.bodies, self.away, self.welcome = [], [], None, None
        credentials = grpc.ssl_channel_credentials(
            self.identity.roots, self.identity.key, self.identity.chain
        )
        self._channel = grpc.aio.secure_channel(address, credentials, self.options)
        self._call = self._channel.stream_stream(METHOD)()
        await self.say(hello=hello or self.hello())

    def hello(self) -> pb.Hello:
        held = self.held
        hello = pb.Hello(
            protocol=1,
            host=self.identity.number,
            host_name=self.identity.name,
            instance_id=self.instance,
            agent_version="test",
            host_record_serial=held.record.serial,
            policy_keys_serial=1,
        )
        if held.release.version:
            hello.policy.CopyFrom(self.held_policy())
        epochs = [epoch for peer, epoch in held.keys if peer == 0]
        hello.keys.CopyFrom(pb.HeldKeys(serial=held.serial, last_epoch=max(epochs, default=0)))
        return hello

    def held_policy(self) -> pb.HeldPolicy:
        release = self.held.release
        return pb.HeldPolicy(
            store_epoch=release.store_epoch,
            version=release.version,
            content_digest=release.content_digest,
            expires=release.expires,
            audience=release.audience,
        )

    async def say(self, **message: Any) -> None:
        await self.raw(pb.AgentUp(**message).SerializeToString())

    async def raw(self, data: bytes) -> None:
        await asyncio.wait_for(self._call.write(data), WAIT_SECONDS)

    async def read(self) -> pb.ControllerDown | None:
        """None at the end of the stream."""
        data = await asyncio.wait_for(self._call.read(), WAIT_SECONDS)
        if data is grpc.aio.EOF:
            return None
        down = pb.ControllerDown.FromString(data)
        self.kinds.append(down.WhichOneof("message"))
        if self.kinds[-1] == "going_away":
            self.away = down.going_away
        if self.kinds[-1] == "welcome":
            self.welcome = down.welcome
        assert down.sequence == len(self.kinds)
        return down

    async def until(self, kind: str) -> pb.ControllerDown:
        """Take what comes and answer it, until something of this kind has come."""
        while (down := await self.read()) is not None:
            await self.take(down)
            if self.kinds[-1] == kind:
                return down
        raise AssertionError(f"the stream ended before {kind}")

    async def take(self, down: pb.ControllerDown) -> None:
        """Answer as an agent would."""
        kind = self.kinds[-1]
        if kind not in ("host_record", "keys", "policy"):
            return
        body = getattr(down, kind)
        try:
            version = self._taken(kind, body)
        except Refused as error:
            nack = pb.Nack(nonce=body.nonce, reason=error.reason, message=str(error))  # type: ignore[arg-type]
            await self.say(nack=nack)
            return
        await self.say(ack=pb.Ack(nonce=body.nonce, version=version))

    def _taken(self, kind: str, body: Any) -> int:
        if kind == "host_record":
            payload = self._opened(body.record, signed.HOST_RECORD)
            self.held.record = pb.HostRecord.FromString(payload)
            assert self.held.record.host == self.identity.number
            return 0
        if kind == "keys":
            self._take_keys(pb.HostKeys.FromString(self._opened(body.keys, signed.HOST_KEYS)))
            return 0
        return self.take_policy(body)

    def _opened(self, envelope: signed_pb2.Signed, context: bytes) -> bytes:
        try:
            return signed.open_signed(envelope, context, self.held.policy_keys)
        except signed.SignatureRefused as error:
            raise Refused(pb.NACK_REASON_SIGNATURE, str(error)) from None

    def _take_keys(self, keys: pb.HostKeys) -> None:
        assert keys.host == self.identity.number
        assert keys.serial > self.held.serial
        self.held.serial = keys.serial
        if keys.replaces_all:
            self.held.keys.clear()
        self.held.keys |= {(0, key.epoch): key.key for key in keys.receive_secrets}
        self.held.keys |= {(p.host, key.epoch): key.key for p in keys.peers for key in p.keys}

    def take_policy(self, update: pb.PolicyUpdate) -> int:
        """Raises Refused."""
        held, payload = self.held, self._opened(update.release, signed.RELEASE)
        release = pb.Release.FromString(payload)
        if release.audience != held.record.audience:
            raise Refused(pb.NACK_REASON_AUDIENCE, "for another audience")
        if order(release) <= order(held.release):
            raise Refused(pb.NACK_REASON_OLDER, f"{order(release)} is not above what is held")
        self.bodies.append(update.WhichOneof("body"))
        entries = held.entries
        if self.bodies[-1] == "content":
            entries = content_codec.decode_content(update.content)
        elif self.bodies[-1] == "delta":
            delta = content_codec.decode_delta(update.delta)
            if delta.base_digest != digest(entries):
                raise Refused(pb.NACK_REASON_DELTA, "another base")
            entries = apply(entries, delta.removals, delta.upserts)
        if digest(entries) != release.content_digest:
            raise Refused(pb.NACK_REASON_DELTA, "another digest")
        held.entries, held.release = entries, release
        peers = {0, *entries[Section.PEERS]}
        held.keys = {place: key for place, key in held.keys.items() if place[0] in peers}
        return release.version

    async def ended(self) -> tuple[str, str]:
        """Code and reason, after reading to the end."""
        try:
            while await self.read() is not None:
                pass
        except grpc.aio.AioRpcError as error:
            return error.code().name, reason_of(error)
        return "OK", ""

    async def outcome(self, address: str, hello: pb.Hello | None = None) -> tuple[str, str]:
        """Of a stream that is not to be."""
        try:
            await self.connect(address, hello)
        except grpc.aio.AioRpcError as error:
            return error.code().name, reason_of(error)
        return await self.ended()

    async def close(self) -> None:
        if self._call is not None:
            self._call.cancel()
        if self._channel is not None:
            await self._channel.close()
        self._call = self._channel = None


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """ErrorInfo's."""
    packed = dict(error.trailing_metadata()).get("grpc-status-details-bin", b"")
    for detail in status_pb2.Status.FromString(packed).details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return str(info.reason)
    return ""


def order(release: pb.Release) -> tuple[int, int, int]:
    return release.store_epoch, release.version, release.issued


def agent(storage: SqlStorage, name: str = "a", **changed: object) -> Agent:
    """Of a host of the store. changed: of its certificate."""
    row = host(storage, name)
    keys = [row_.public for row_ in storage.secrets().signing_keys]
    return Agent(identity(storage, row, **changed), Held(keys))  # type: ignore[arg-type]


def host(storage: SqlStorage, name: str) -> HostRow:
    row = storage.host(name)
    assert row is not None
    return row
