# SPDX-License-Identifier: Apache-2.0
"""`doctor` on the files that the configuration names: keys, snapshot, cache, certificates."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agent.config import Config
from agent.core.diagnosis import Finding, ok, problem, warning
from agent.core.events import SnapshotMissing, SnapshotRead, SnapshotRefused, Source
from agent.core.model import Snapshot
from agent.edge import clock, http_auth, identity_files, snapshot_file
from agent.edge.http_auth import AuthFileError
from agent.edge.identity_files import IdentityError
from agent.edge.snapshot_source import SnapshotSource

AREA = "files"
SOON_SECONDS = 7 * 24 * 3600
_LAST_QUARTER = 0.25


def examine(config: Config) -> Iterator[Finding]:
    if config.snapshot is None or config.policy_key is None:
        yield _identity(config)
    else:
        yield from _policy_files(config, config.policy_key, config.snapshot)
    yield from _private(config)
    yield from _metrics(config)


def _identity(config: Config) -> Finding:
    try:
        held = identity_files.load(config.identity)
    except IdentityError as error:
        return problem(
            AREA, str(error), "the agent does not start", "run `cordon-agent join` with a token"
        )
    left = held.expires - clock.unix_seconds()
    if left < 0:
        return problem(
            AREA,
            f"the certificate of host {held.host_name} ended {_span(-left)} ago",
            "no controller lets this host in; the last good policy stays in force",
            "run `cordon-agent join --replace` with a token that replaces the host",
        )
    return ok(AREA, f"host {held.host_name} has joined, its certificate is good for {_span(left)}")


def _policy_files(config: Config, policy_key: Path, snapshot: Path) -> Iterator[Finding]:
    try:
        key = snapshot_file.load_public_key(policy_key)
    except snapshot_file.SnapshotRefused as error:
        yield problem(
            AREA,
            f"policy_key: {error}",
            "the agent does not start: no snapshot could be checked",
            "bring the file policy.pub that `cordonctl compile` wrote",
        )
    else:
        yield ok(AREA, f"policy_key {policy_key} is an Ed25519 key")
        yield from _snapshots(config, key, snapshot)


def _snapshots(config: Config, key: Ed25519PublicKey, snapshot: Path) -> Iterator[Finding]:
    source = SnapshotSource(snapshot, config.cache, key, config.host_name)
    yield from _snapshot(source.read(Source.FILE, None))
    cached = source.read(Source.CACHE, None)
    if isinstance(cached, SnapshotRefused):
        yield warning(
            AREA,
            f"the policy cache is not usable: {cached.reason}",
            "after a boot with no good snapshot file there would be no policy",
            f"remove {config.cache}; the agent writes it anew with the next policy",
        )


def _snapshot(event: object) -> Iterator[Finding]:
    match event:
        case SnapshotRead():
            yield ok(AREA, f"the snapshot is good: version {event.snapshot.version}")
            yield from _times(event.snapshot)
        case SnapshotRefused():
            yield problem(
                AREA,
                event.reason,
                "the last good policy stays in force, on a fresh host none",
                "compile again, and bring this host its own snapshot",
            )
        case SnapshotMissing():
            yield warning(
                AREA,
                f"there is no snapshot at {event.path}",
                "the last good policy stays in force, on a fresh host none",
                "bring this host its snapshot",
            )


def _times(snapshot: Snapshot) -> Iterator[Finding]:
    now = clock.unix_seconds()
    length = snapshot.settings.epoch_seconds
    if snapshot.issued - now > length:
        yield problem(
            AREA,
            f"the snapshot was issued {_span(snapshot.issued - now)} in the future",
            "this host's clock, or the compiler's, is wrong: tags may be refused",
            "put the clocks right",
        )
    left = snapshot.expires - now
    if left < _LAST_QUARTER * (snapshot.expires - snapshot.issued):
        yield warning(
            AREA,
            f"the snapshot expires in {_span(left)}",
            "enforcement goes on after it, with the old policy and without keys for new tags",
            "compile and deliver a newer one",
        )


def _private(config: Config) -> Iterator[Finding]:
    """Snapshots hold keys: whoever reads one can write this host's tags."""
    for path in filter(None, (config.snapshot, config.cache)):
        try:
            mode = path.stat().st_mode
        except OSError:
            continue
        if mode & 0o077:
            yield problem(
                AREA,
                f"{path} has mode {stat.S_IMODE(mode):04o} and holds keys",
                "who reads it can speak as any workload of this host",
                f"chmod 0600 {path}, and compile with new secrets if others have read it",
            )


def _metrics(config: Config) -> Iterator[Finding]:
    lost = "metrics are not served; enforcement does not depend on them"
    try:
        if config.metrics_users is not None:
            http_auth.read_users(config.metrics_users)
            yield ok(AREA, f"metrics_users {config.metrics_users} is good")
        if config.metrics_key is not None:
            http_auth.require_private(config.metrics_key)
    except AuthFileError as error:
        yield warning(AREA, str(error), lost, "put the file right, then restart the agent")
    if config.metrics_certificate is not None:
        yield _certificate(config.metrics_certificate, lost)


def _certificate(path: Path, lost: str) -> Finding:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        return warning(AREA, f"{path} is no certificate as PEM: {error}", lost, "bring another one")
    left = (certificate.not_valid_after.replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds()
    if left < SOON_SECONDS:
        return warning(
            AREA,
            f"the certificate {path} expires in {_span(left)}",
            "Prometheus will refuse it then",
            "renew it; the agent takes a new file up by itself",
        )
    return ok(AREA, f"the certificate {path} is good for {_span(left)}")


def _span(seconds: float) -> str:
    if seconds < 0:
        return f"minus {_span(-seconds)}"
    return f"{seconds / 86400:.1f} days" if seconds >= 86400 else f"{seconds / 3600:.1f} hours"
