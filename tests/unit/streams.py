# SPDX-License-Identifier: Apache-2.0
"""Both ends of a policy stream without a wire: a controller's desk, and an agent in miniature that
believes nothing it cannot check.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.core.content import EMPTY, Entries, Key, Section, apply, digest
from agent.edge import content_codec, signed
from agent.edge.snapshot_codec import raw_public_key
from agent.pb import policy_pb2 as pb
from agent.pb import signed_pb2
from controller.board import Batch, Desk, batch_of
from controller.fleet.changes import Touched
from controller.fleet.compile import Fleet
from controller.keyserver import HeldKeys
from controller.releases import Sealing
from controller.sync import Stream
from controller.talk import (
    Acked,
    Action,
    End,
    Event,
    HeldPolicy,
    Hello,
    Nacked,
    SendBeat,
    SendConfirm,
    SendInSync,
    SendKeys,
    SendPolicy,
    SendRecord,
    Welcome,
)
from tests.unit.fleets import Rows
from tests.unit.policies import ROOT

Body = tuple[bytes | None, bytes]
"""Delta, if there is one, and whole."""
Bodies = dict[int, Body]
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = raw_public_key(KEY.public_key())


@dataclass
class Site:
    """A store's rows, and one controller over them."""

    rows: Rows
    fleet: Fleet = field(default_factory=Fleet)
    desk: Desk = field(default_factory=Desk)

    def __post_init__(self) -> None:
        self.rows.part()
        self.start()

    def start(self) -> None:
        """A controller that has no state of its own."""
        self.fleet, self.desk = Fleet(), Desk()
        self.desk.sealing = Sealing(KEY, self.rows.settings.validity_seconds)
        self.desk.use_root(ROOT)
        self.desk.unix_ms = self.rows.at * 1000
        whole = self.fleet.load(self.rows.whole())
        self.desk.apply(self._batch(whole, everything=True))

    def _batch(self, touched: Touched, *, everything: bool = False) -> Batch:
        assert self.desk.sealing is not None
        unix = self.desk.unix
        return batch_of(self.fleet, touched, self.desk.sealing, unix, everything=everything)

    def publish(self, seconds: int = 1) -> frozenset[str]:
        """What was edited becomes the next version. Whom it touches."""
        part = self.rows.part(seconds)
        self.desk.unix_ms = self.rows.at * 1000
        return self.desk.apply(self._batch(self.fleet.update(part)))

    def stream(self, name: str) -> Stream:
        return Stream(self.rows.hosts[name].number, name, self.desk)


@dataclass
class Agent:
    """What is confirmed survives a broken stream; what is not is taken back."""

    name: str
    number: int
    record: pb.HostRecord | None = None
    entries: Entries = field(default_factory=lambda: EMPTY)
    release: pb.Release | None = None
    keys: dict[tuple[int, int], bytes] = field(default_factory=dict)
    """(peer, epoch) -> key; peer 0: receive secrets."""
    serial: int = 0
    before: tuple[Entries, pb.Release | None] = (EMPTY, None)
    unconfirmed: int = 0
    in_sync: int = 0
    ended: End | None = None
    nonce: int = 0

    def hello(self) -> Hello:
        """At the beginning of a stream."""
        self.in_sync, self.nonce, self.ended = 0, 0, None
        confirmed = self.release
        unconfirmed = None
        if self.unconfirmed:
            confirmed, unconfirmed = self.before[1], self.release
        epochs = [epoch for peer, epoch in self.keys if peer == 0]
        return Hello(
            protocol=1,
            host=self.number,
            name=self.name,
            policy=_held(confirmed),
            unconfirmed=_held(unconfirmed),
            record_serial=self.record.serial if self.record else 0,
            keys=HeldKeys(self.serial, max(epochs, default=0)),
        )

    def hear(self, desk: Desk, action: Action, bodies: Bodies) -> Event | None:
        """The answer, if one is due. Fails the test for what no agent would take."""
        assert self.ended is None, "nothing comes after the end"
        match action:
            case Welcome():
                if self.unconfirmed and not action.confirmed:
                    self.take_back()
                self.unconfirmed = 0
            case SendRecord() | SendKeys() | SendPolicy():
                self.nonce += 1
                assert action.nonce == self.nonce, "nonces count from 1"
                return self._take(desk, action, bodies)
            case SendConfirm():
                assert action.nonce == self.unconfirmed
                self._confirmed()
            case SendInSync():
                self.in_sync += 1
            case End():
                self.ended = action
            case SendBeat():
                pass
        return None

    def take_back(self) -> None:
        self.entries, self.release = self.before
        self.unconfirmed = 0

    def _confirmed(self) -> None:
        self.unconfirmed = 0
        assert self.record is not None
        peers = {0, *self.entries[Section.PEERS]}
        self.keys = {place: key for place, key in self.keys.items() if place[0] in peers}

    def _take(
        self, desk: Desk, action: SendRecord | SendKeys | SendPolicy, bodies: Bodies
    ) -> Event:
        if isinstance(action, SendRecord):
            said = action.record
            order = (said.store_epoch, said.serial)
            if self.record is not None:
                assert order > (self.record.store_epoch, self.record.serial)
            self.record = pb.HostRecord(
                store_epoch=order[0], serial=order[1], host=said.host, audience=said.audience
            )
            return Acked(action.nonce)
        if isinstance(action, SendKeys):
            return self._take_keys(action)
        return self._take_policy(desk, action, bodies)

    def _take_keys(self, action: SendKeys) -> Event:
        said = action.keys
        assert said.host == self.number
        assert said.serial > self.serial
        if said.replaces_all:
            self.keys = {}
        self.serial = said.serial
        self.keys |= {(0, key.epoch): key.key for key in said.receive_secrets}
        self.keys |= {(peer, key.epoch): key.key for peer, keys in said.peers for key in keys}
        return Acked(action.nonce)

    def _take_policy(self, desk: Desk, action: SendPolicy, bodies: Bodies) -> Event:
        assert not self.unconfirmed, "one at a time"
        envelope = signed_pb2.Signed.FromString(action.release.signed)
        release = pb.Release.FromString(signed.open_signed(envelope, signed.RELEASE, [PUBLIC]))
        assert self.record is not None
        assert release.audience == self.record.audience
        if self.release is not None:
            assert _order(release) > _order(self.release)
        entries = self.entries
        own = digest(entries)
        if action.base != action.release.digest:
            entries = self._content(bodies[action.nonce])
        else:
            assert own == action.base
        assert digest(entries) == release.content_digest
        assert self.missing(entries, desk) == set(), "keys are there before the policy"
        self.before = (self.entries, self.release)
        self.entries, self.release, self.unconfirmed = entries, release, action.nonce
        return Acked(action.nonce, release.version)

    def _content(self, body: Body) -> Entries:
        delta, whole = body
        if delta is None:
            return content_codec.decode_content(pb.Content.FromString(whole))
        heard = content_codec.decode_delta(pb.Delta.FromString(delta))
        assert heard.base_digest == digest(self.entries)
        return apply(self.entries, heard.removals, heard.upserts)

    def missing(self, entries: Entries, desk: Desk) -> set[tuple[Key, int]]:
        """Keys for now that this content needs and that are not there."""
        now = desk.unix // desk.settings.epoch_seconds
        wanted: set[tuple[Key, int]] = {
            (peer, now) for peer in (0, *entries[Section.PEERS]) if peer != self.number
        }
        return wanted - self.keys.keys()


def _order(release: pb.Release) -> tuple[int, int, int]:
    return release.store_epoch, release.version, release.issued


def _held(release: pb.Release | None) -> HeldPolicy | None:
    if release is None:
        return None
    order = release.store_epoch, release.version
    return HeldPolicy(*order, release.content_digest, release.expires, release.audience)


@dataclass
class Talk:
    """One agent, one stream: what is on the way, each way."""

    site: Site
    agent: Agent
    now: float = 0.0
    down: list[Action] = field(default_factory=list)
    up: list[Event] = field(default_factory=list)
    stream: Stream | None = None
    sent: list[Action] = field(default_factory=list)
    bodies: Bodies = field(default_factory=dict)

    def connect(self) -> None:
        self.down, self.up = [], []
        stream = self.stream = self.site.stream(self.agent.name)
        hello = self.agent.hello()
        actions = stream.greet(hello, self.now)
        self._send(actions or stream.begin(self.now))

    def _send(self, actions: list[Action]) -> None:
        self.down += actions
        self.sent += actions
        releases = self.site.desk.releases
        for action in actions:
            if isinstance(action, SendPolicy):  # its bytes are made as it is sent
                release, base = action.release, action.base
                delta = releases.delta(release, base) if base is not None else None
                self.bodies[action.nonce] = (delta, releases.whole(release))

    def tell(self, event: Event) -> None:
        """The controller's end hears something."""
        assert self.stream is not None
        self._send(self.stream.handle(event, self.now))

    def step_down(self) -> None:
        """The agent reads one message."""
        if self.down:
            answer = self.agent.hear(self.site.desk, self.down.pop(0), self.bodies)
            if answer is not None:
                self.up.append(answer)

    def step_up(self) -> None:
        """The controller reads one."""
        if self.up:
            self.tell(self.up.pop(0))

    def settle(self) -> None:
        """Until nothing is on the way; bounded, for a talk must come to an end."""
        for _ in range(1000):
            if not self.down and not self.up:
                return
            self.step_down()
            self.step_up()
        raise AssertionError("they never stop talking")


def nack(nonce: int, reason: int) -> Nacked:
    return Nacked(nonce, reason, "no")
