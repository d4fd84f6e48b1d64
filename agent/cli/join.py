# SPDX-License-Identifier: Apache-2.0
"""`cordon-agent join`: from a token to an identity on disk.

The key is made here and never leaves the host. Nothing is sent before the authority was recognised
by the token's pin (or by `--roots`), and the pin itself is never sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from agent.config import Config
from agent.edge import enrolment_client, host_facts, identity_files, snapshot_file
from agent.edge.enrolment_client import EnrolmentError, Joining
from agent.edge.identity_files import Identity, IdentityError
from agent.edge.snapshot_file import SnapshotRefused
from agent.pb.enrolment_pb2 import HostFacts

FAILED = 1
BAD_INPUT = 2
MAX_BYTES = 64 * 1024


class JoinError(Exception):
    """status: the command's exit status."""

    def __init__(self, sentence: object, status: int = FAILED) -> None:
        super().__init__(str(sentence))
        self.status = status


@dataclass(frozen=True, slots=True)
class Options:
    controller: str
    token: str | None = field(repr=False)
    token_file: Path | None
    roots: Path | None
    name: str
    replace: bool


def join(config: Config, options: Options) -> Identity:
    """Raises JoinError."""
    folder = config.identity
    if config.snapshot is not None:
        raise JoinError(
            "the configuration names a snapshot file: remove snapshot and policy_key from it, for "
            "policy comes from one place",
            BAD_INPUT,
        )
    if identity_files.exists(folder) and not options.replace:
        raise JoinError(
            f"{folder}: this host has joined already; --replace, with a token that replaces the "
            "host, gives it a new identity",
            BAD_INPUT,
        )
    sent, pin = _token(options)
    facts = _facts()
    try:
        roots = _roots(options, pin)
        key = identity_files.next_key(folder, fresh=False)
        joining = Joining(options.controller, roots, key, sent)
        answer = enrolment_client.enrol(joining, options.name, facts)
        config.cache.unlink(missing_ok=True)  # of whoever this host was before
        return identity_files.save_joined(folder, answer)
    except (EnrolmentError, IdentityError) as error:
        raise JoinError(error) from None
    except OSError as error:
        raise JoinError(f"{folder}: {error.strerror}") from None


def _facts() -> HostFacts:
    try:
        return host_facts.host_facts()
    except OSError as error:
        raise JoinError(error.strerror or str(error)) from None


def _token(options: Options) -> tuple[str, bytes]:
    """What is sent, and the pin, which is empty if the token has none."""
    if (options.token is None) == (options.token_file is None):
        raise JoinError("expected --token or --token-file", BAD_INPUT)
    text = options.token or ""
    if options.token_file is not None:
        text = _read(options.token_file).decode(errors="replace")
    try:
        return enrolment_client.token_parts(text)
    except ValueError as error:
        raise JoinError(error, BAD_INPUT) from None


def _roots(options: Options, pin: bytes) -> bytes:
    """Whom to believe, PEM. Raises EnrolmentError, JoinError."""
    if options.roots is not None:
        return _read(options.roots)
    if not pin:
        raise JoinError("the token has no PIN: expected --roots with the authorities", BAD_INPUT)
    return enrolment_client.authority_by_pin(options.controller, pin)


def _read(path: Path) -> bytes:
    try:
        return snapshot_file.read(path, MAX_BYTES)
    except SnapshotRefused as error:
        raise JoinError(error, BAD_INPUT) from None
