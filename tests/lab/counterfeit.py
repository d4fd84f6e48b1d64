# SPDX-License-Identifier: Apache-2.0
"""Tags made by hand, with the keys of a host that was broken into.

For tests of what the kernel must refuse, and of the one thing it must not: a tag that is right.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from agent.core import tag
from agent.core.model import Peer, Snapshot
from agent.edge import identity_files, policy_cache
from agent.pb import snapshot_pb2
from tests.lab.cordon import Cordon, CordonHost
from tests.lab.packets import Segment


@dataclass(frozen=True)
class Counterfeit:
    """What host a's kernel would write, in our hands: its keys, from its own disk."""

    snapshot: snapshot_pb2.Snapshot | Snapshot

    @classmethod
    def of(cls, cordon: Cordon, host: str) -> Counterfeit:
        signed = snapshot_pb2.SignedSnapshot.FromString(cordon[host].snapshot.read_bytes())
        return cls(snapshot_pb2.Snapshot.FromString(signed.payload))

    @classmethod
    def of_cache(cls, host: CordonHost) -> Counterfeit:
        """Of a host that has joined a controller."""
        state = host.lab.state / host.lab.name
        identity = identity_files.load(state / "identity")
        content = (state / "policy.cache").read_bytes()
        stand = policy_cache.decode(content, identity.key_set, identity.host)
        return cls(policy_cache.snapshot_of(stand))

    def identity(self, workload: str) -> int:
        return next(
            number
            for number, name in self.snapshot.names.items()
            if name.split("/")[-1] == workload
        )

    def peer(self, name: str) -> snapshot_pb2.Peer | Peer:
        return next(peer for peer in self.snapshot.peers if peer.name == name)

    def epoch(self) -> int:
        return int(time.time()) // self.snapshot.settings.epoch_seconds

    def key(self, to: str, epoch: int) -> bytes:
        return next(key.key for key in self.peer(to).keys if key.epoch == epoch)

    def tag_for(
        self,
        segment: Segment,
        to: str,
        identity: int,
        *,
        key: bytes | None = None,
        host: int | None = None,
        epoch: int | None = None,
        direction: int = 0,
    ) -> bytes:
        """The option for a segment, right in all that is not given otherwise."""
        epoch = self.epoch() if epoch is None else epoch
        host = self.snapshot.host if host is None else host
        key = self.key(to, epoch) if key is None else key
        mac = tag.tag_mac(
            key,
            tag.MacInput(
                direction=direction,
                identity=identity,
                host=host,
                epoch=epoch,
                sequence=segment.sequence,
                source=tag.address_bytes(segment.source),
                destination=tag.address_bytes(segment.destination),
                source_port=segment.source_port,
                destination_port=segment.destination_port,
                acknowledged=segment.acknowledgment if direction else 0,
            ),
        )
        return tag.Tag(identity=identity, host=host, epoch=epoch, mac=mac).encode()
