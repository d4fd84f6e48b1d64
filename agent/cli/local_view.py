# SPDX-License-Identifier: Apache-2.0
"""How the agent's answers read: rows for people, dictionaries for programs. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from agent.pb import local_pb2 as pb

Row = tuple[object, ...]

COUNTER_COLUMNS = ("counter", "direction", "verdict", "reason", "count")
SOCKET_COLUMNS = (
    "proto", "state", "local", "workload", "remote", "peer", "proof", "verdict", "reason", "rule",
    "adopted", "pid",
)  # fmt: skip
ADOPTED_COLUMNS = ("proto", "state", "local", "workload", "remote", "left", "pid")


def as_dict(message: Message) -> dict[str, Any]:
    """Every field, also those that are zero; 64-bit numbers as numbers, enums as words."""
    found = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    fields = message.DESCRIPTOR.fields_by_name
    return {
        name: word_of(fields[name].enum_type, getattr(message, name))
        if fields[name].enum_type and not fields[name].is_repeated
        else _plain(value, getattr(message, name))
        for name, value in found.items()
    }


def word_of(kind: Any, number: int) -> str:
    """HOST_STATE_LOST of HostState is "lost"; a number that is newer than we are stays one.

    kind: the EnumDescriptor, of which protobuf has two types.
    """
    value = kind.values_by_number.get(number)
    prefix = kind.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return value.name.removeprefix(prefix).lower() if value else str(number)


def _plain(value: Any, original: Any) -> Any:
    """protobuf's JSON writes 64-bit numbers as text, because JavaScript cannot hold them."""
    if isinstance(original, int) and isinstance(value, str):
        return int(value)
    if isinstance(original, Message):
        return as_dict(original)
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [as_dict(item) for item in original]
    return value


def status_facts(status: pb.StatusResponse) -> list[tuple[str, object]]:
    facts: list[tuple[str, object]] = [
        ("instance", status.instance),
        ("state", status.state),
        ("summary", status.summary),
        ("host", f"{status.host_name} ({status.host})" if status.host else status.host_name),
        ("policy", _policy(status)),
        ("policy size", f"{status.rules} rules, {status.entries} kernel entries, "
                        f"{status.workloads} workloads, {status.peers} hosts"),
        ("hooks", _hooks(status)),
        ("processes", status.processes),
        ("last apply", f"{status.apply_seconds * 1000:.1f} ms" if status.policy_version else ""),
        ("last load", _load(status.load_seconds)),
        ("adoption", _left(status.adoption_seconds_left) if status.policy_version else ""),
        ("uptime", f"{status.uptime_seconds} s"),
    ]  # fmt: skip
    if status.unseen:
        facts.append(("CANNOT LOOK", f"whether the hooks are attached: {status.unseen}"))
    if status.tampering:
        facts.append(("TAMPERING", f"{status.tampering} ({status.repairs} repairs since start)"))
    facts.extend((f"mode of {name}", mode) for name, mode in sorted(status.modes.items()))
    facts.extend(("LIFELINE, always open", name) for name in status.lifelines)
    return facts


def _policy(status: pb.StatusResponse) -> str:
    if not status.policy_version:
        return "none"
    return f"version {status.policy_version}, expires {_date(status.policy_expires)}"


def _hooks(status: pb.StatusResponse) -> str:
    if status.unseen and not status.hooks_attached:
        return f"unknown of {status.hooks_expected}"
    return f"{status.hooks_attached} of {status.hooks_expected} attached"


def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _load(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds else "found in place"


def counter_rows(counters: Iterable[pb.Counter]) -> list[Row]:
    return [(c.kind, c.direction, c.verdict, c.reason, c.value) for c in counters]


def workload_of(process: pb.Process) -> str:
    """segment/name; of a process without a workload what it is called instead."""
    return f"{process.segment}/{process.workload}".strip("/")


def socket_row(one: pb.Socket) -> Row:
    return (
        one.protocol,
        one.state,
        endpoint(one.local_address, one.local_port),
        one.local_workload,
        endpoint(one.remote_address, one.remote_port),
        one.peer_workload,
        one.proof,
        one.verdict,
        one.reason,
        one.rule_name or one.rule or "",
        _left(one.adopted_seconds_left) if one.adopted else "",
        one.pid,
    )


def adopted_row(one: pb.Socket) -> Row:
    local = endpoint(one.local_address, one.local_port)
    remote = endpoint(one.remote_address, one.remote_port)
    left = _left(one.adopted_seconds_left)
    return one.protocol, one.state, local, one.local_workload, remote, left, one.pid


def _left(seconds: float) -> str:
    """Of the grace of what is older than the first policy."""
    return f"{seconds:.0f} s left" if seconds else "over"


def endpoint(address: str, port: int) -> str:
    """Empty for an address that is not there yet: not bound, not connected."""
    if not address or (not port and address in ("::", "0.0.0.0")):
        return ""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def flow_line(flow: pb.Flow) -> str:
    """One line, in the host's own time of day."""
    arrow = "<-" if flow.direction == "ingress" else "->"
    local = [flow.local_workload or "?", endpoint(flow.local_address, flow.local_port)]
    peer = [flow.peer_workload or "?", endpoint(flow.remote_address, flow.remote_port)]
    clock = datetime.fromtimestamp(flow.time).isoformat(timespec="milliseconds").partition("T")[2]
    words = [clock, f"{flow.verdict.upper():<6}", flow.protocol, *local, arrow, *peer, flow.reason]
    facts = {
        "rule": flow.rule_name or flow.rule,
        "proof": flow.proof,
        "pid": flow.pid,
        "suppressed": flow.suppressed,
        "id": flow.id,
    }
    words += [f"{name}={value}" for name, value in facts.items() if value]
    return " ".join(word for word in words if word)
