# SPDX-License-Identifier: Apache-2.0
"""Values of the model as entries of a content: the one place of the fleet that knows their form."""

from __future__ import annotations

from google.protobuf.message import Message

from agent.core.model import Mode, Network, Peer, Rule, Settings, Workload
from agent.edge import model_codec as codec
from agent.pb import policy_pb2 as pb


def _bytes(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)


def workload_entry(workload: Workload) -> bytes:
    return _bytes(codec.encode_workload(workload))


def rule_entry(rule: Rule) -> bytes:
    return _bytes(codec.encode_rule(rule))


def peer_entry(peer: Peer) -> bytes:
    return _bytes(codec.encode_peer(peer))


def network_entry(network: Network) -> bytes:
    return _bytes(codec.encode_network(network))


def mode_entry(identity: int, mode: Mode) -> bytes:
    return _bytes(pb.LocalMode(identity=identity, mode=codec.encode_mode(mode)))


def name_entry(identity: int, name: str) -> bytes:
    return _bytes(pb.IdentityName(identity=identity, name=name))


def settings_entry(settings: Settings) -> bytes:
    return _bytes(codec.encode_settings(settings))
