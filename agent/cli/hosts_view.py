# SPDX-License-Identifier: Apache-2.0
"""How hosts read. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from agent.cli.local_view import Row, word_of
from agent.cli.values import labels_text, moment_text
from agent.pb import admin_pb2 as pb

COLUMNS = (
    "name", "number", "state", "version", "addresses", "labels", "seen", "agent", "trouble",
)  # fmt: skip


def row(host: pb.Host) -> Row:
    return (
        host.name,
        host.number,
        state(host),
        version(host),
        ",".join(host.addresses),
        labels_text(host.labels),
        moment_text(host.last_seen),
        host.agent_version,
        trouble(host),
    )


def state(host: pb.Host) -> str:
    word = word_of(pb.HostState.DESCRIPTOR, host.state)
    return f"{word}, quarantined" if host.quarantined else word


def version(host: pb.Host) -> str:
    """With a mark if it is not the newest one; empty where nothing was heard."""
    if not host.version:
        return ""
    return str(host.version) if host.current else f"{host.version} (old)"


def trouble(host: pb.Host) -> str:
    refused = f"refused the newest version: {host.refused}" if host.refused else ""
    return "; ".join(part for part in (refused, host.trouble) if part)


def standing(host: pb.Host, labels: Mapping[str, str]) -> str:
    """What a change of it has led to, in short."""
    addresses = ", ".join(host.addresses) or "no address"
    return f"{labels_text(labels) or 'no labels'}; {addresses}"


def facts(answer: pb.GetHostResponse) -> list[tuple[str, object]]:
    host = answer.host
    fixed = ", given by an operator" if answer.addresses_fixed else ", as it reports"
    running = (f"{name} ({count})" for name, count in sorted(answer.running.items()))
    return [
        ("host", f"{host.name} ({host.number})"),
        ("state", state(host)),
        ("trouble", trouble(host)),
        ("policy", _policy(host)),
        ("labels", labels_text(host.labels)),
        ("addresses", ", ".join(host.addresses) + fixed if host.addresses else ""),
        ("not taken", "; ".join(answer.addresses_refused)),
        ("networks", ", ".join(answer.networks) or "any"),
        ("tags", "off" if answer.tags_off else "on"),
        ("nat", "yes" if answer.nat else "no"),
        ("seen", moment_text(host.last_seen) or "never"),
        ("controller", answer.controller),
        ("agent", ", ".join(part for part in (host.agent_version, answer.agent_state) if part)),
        ("kernel", answer.kernel),
        ("enrolled", _enrolled(answer)),
        ("certificate", f"until {moment_text(answer.certificate_expires)}"),
        ("workloads", ", ".join(answer.workloads)),
        ("running", ", ".join(running)),
    ]


def _policy(host: pb.Host) -> str:
    if not host.version:
        return "none that it has told of"
    newest = "the newest for it" if host.current else "not the newest for it"
    return f"version {host.version}, {newest}"


def _enrolled(answer: pb.GetHostResponse) -> str:
    by = f" by a token of {answer.enrolled_by}" if answer.enrolled_by else ""
    return f"{moment_text(answer.enrolled)}{by}"
