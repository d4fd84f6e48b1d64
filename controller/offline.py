# SPDX-License-Identifier: Apache-2.0
"""Policy without a controller: YAML files in, one signed snapshot file per host out.

For air-gapped sites, GitOps and tests. The folder STATE keeps what must outlive a compile: the root
secret, the signing key and the numbers behind names. It is written before the snapshots, so that a
crash in between costs a revision number and nothing else.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from agent.core.model import Snapshot
from agent.core.snapshot import MAX_SNAPSHOT_BYTES
from agent.core.soundness import check_content
from agent.edge import clock, snapshot_codec
from controller import allocations, files, keys, signing
from controller.allocations import Allocations, AllocationsError
from controller.compiler import Compiled, compile_revision
from controller.documents import Revision, read_documents
from controller.files import StateError
from controller.inventory import Inventory, read_inventory
from controller.problems import InputRefused, Problem, Source, refuse
from controller.yamlfile import YamlDocument, parse

PUBLIC_KEY = "policy.pub"
SNAPSHOT_SUFFIX = ".snapshot"
_ROOT, _SIGNING, _ALLOCATIONS = "root.key", "signing.key", "allocations.json"


@dataclass(frozen=True, slots=True)
class Result:
    """files: host name -> its snapshot file. stale: snapshots in OUT of hosts that are gone."""

    compiled: Compiled
    files: Mapping[str, Path]
    public_key: Path
    stale: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class State:
    """What outlives a compile."""

    root: bytes
    key: Ed25519PrivateKey
    numbers: Allocations


@dataclass(frozen=True, slots=True)
class Known:
    """What `explain` asks. sources: rule number -> its document, where documents are known."""

    snapshots: Mapping[str, Snapshot]
    sources: Mapping[int, Source]


def known_from_sources(inventory: Path, policy: Path) -> Known:
    """What a compile would give the hosts. Its keys and numbers are of no use and go nowhere.

    Raises InputRefused.
    """
    hosts, revision = read_sources(inventory, policy)
    now = int(clock.unix_seconds())
    compiled = compile_revision(revision, hosts, Allocations(), now, bytes(keys.ROOT_BYTES))
    return Known(compiled.snapshots, compiled.sources)


def known_from_snapshots(paths: Sequence[Path], key: Path | None) -> Known:
    """What hosts were given. Raises InputRefused."""
    key_path = key or paths[0].parent / PUBLIC_KEY
    try:
        public = signing.load_public(files.read_input(key_path))
    except signing.SigningKeyError as error:
        raise refuse(Source(str(key_path)), str(error)) from error
    snapshots = [_open_snapshot(path, public) for path in paths]
    return Known({snapshot.host_name: snapshot for snapshot in snapshots}, {})


def _open_snapshot(path: Path, key: Ed25519PublicKey) -> Snapshot:
    content = files.read_input(path, MAX_SNAPSHOT_BYTES)
    try:
        snapshot = snapshot_codec.decode(snapshot_codec.unseal(content, key))
    except snapshot_codec.SnapshotDecodeError as error:
        raise refuse(Source(str(path)), str(error)) from error
    if sentence := check_content(snapshot):
        raise refuse(Source(str(path)), sentence)
    return snapshot


def read_sources(inventory: Path, policy: Path) -> tuple[Inventory, Revision]:
    """Both inputs, with all that is wrong in either. Raises InputRefused."""
    problems: list[Problem] = []
    hosts: Inventory | None = None
    revision: Revision | None = None
    try:
        hosts = read_inventory(str(inventory), parse(str(inventory), files.read_input(inventory)))
    except InputRefused as error:
        problems.extend(error.problems)
    try:
        revision = read_policy(policy)
    except InputRefused as error:
        problems.extend(error.problems)
    if hosts is None or revision is None:
        raise InputRefused(problems)
    return hosts, revision


def read_policy(folder: Path) -> Revision:
    """All documents below a folder. Raises InputRefused with what is wrong in any of them."""
    problems: list[Problem] = []
    documents: list[YamlDocument] = []
    for path in files.yaml_files(folder):
        try:
            documents.extend(parse(str(path), files.read_input(path)))
        except InputRefused as error:
            problems.extend(error.problems)
    try:
        revision = read_documents(documents)
    except InputRefused as error:
        problems.extend(error.problems)
    if problems:
        raise InputRefused(problems)
    return revision


def compile_files(
    inventory: Path, policy: Path, out: Path, state: Path, now: int | None = None
) -> Result:
    """The whole way. Raises InputRefused for bad input and StateError; then nothing was written."""
    hosts, revision = read_sources(inventory, policy)
    _refuse_lost_state(out, state)
    moment = int(clock.unix_seconds()) if now is None else now
    if not state.exists():  # refused input leaves no folder behind
        _compile(revision, hosts, load_state(state), state, moment)
    files.make_folder(out, files.PRIVATE_FOLDER)
    files.make_folder(state, files.PRIVATE_FOLDER)
    with files.locked(state):
        kept = load_state(state)
        return _write(out, state, kept, _compile(revision, hosts, kept, state, moment))


def _compile(revision: Revision, hosts: Inventory, kept: State, state: Path, now: int) -> Compiled:
    try:
        return compile_revision(revision, hosts, kept.numbers, now, kept.root)
    except AllocationsError as error:
        raise StateError(f"{state / _ALLOCATIONS}: {error}") from error


def _refuse_lost_state(out: Path, state: Path) -> None:
    if (state / _ALLOCATIONS).exists() or not any(out.glob(f"*{SNAPSHOT_SUFFIX}")):
        return
    raise StateError(
        f"{state}: there are snapshots in {out}, but not the state that they were made with: "
        "restore it; or remove the snapshots, and hand every host its new one and the new key"
    )


def load_state(folder: Path) -> State:
    """What is kept, or a new beginning where there is nothing; writes nothing.

    Raises StateError.
    """
    root = files.read_private(folder / _ROOT)
    pem = files.read_private(folder / _SIGNING)
    numbers = files.read_private(folder / _ALLOCATIONS)
    if numbers is None:
        root = root or secrets.token_bytes(keys.ROOT_BYTES)
    elif root is None or pem is None:
        missing = _ROOT if root is None else _SIGNING
        raise StateError(f"{folder / missing}: this file is missing; restore it from a backup")
    if len(root) != keys.ROOT_BYTES:
        raise StateError(
            f"{folder / _ROOT}: expected {keys.ROOT_BYTES} bytes, got {len(root)}; "
            "restore it from a backup"
        )
    return State(root, _signing_key(folder / _SIGNING, pem), _numbers(folder, numbers))


def _signing_key(path: Path, pem: bytes | None) -> Ed25519PrivateKey:
    try:
        return signing.new_key() if pem is None else signing.load_private(pem)
    except signing.SigningKeyError as error:
        raise StateError(f"{path}: {error}") from error


def _numbers(folder: Path, content: bytes | None) -> Allocations:
    try:
        return Allocations() if content is None else allocations.decode(content.decode())
    except (UnicodeDecodeError, AllocationsError) as error:
        raise StateError(f"{folder / _ALLOCATIONS}: {error}") from error


def _write(out: Path, state: Path, kept: State, compiled: Compiled) -> Result:
    for snapshot in compiled.snapshots.values():
        sentence = check_content(snapshot)
        assert sentence is None, f"the compiler made a snapshot that agents refuse: {sentence}"
    sealed = {
        name: snapshot_codec.seal(snapshot, kept.key)
        for name, snapshot in compiled.snapshots.items()
    }
    if not (state / _ROOT).exists():
        files.write_private(state / _ROOT, kept.root)
    if not (state / _SIGNING).exists():
        files.write_private(state / _SIGNING, signing.private_pem(kept.key))
    files.write_private(state / _ALLOCATIONS, compiled.allocations.encode().encode())
    written = {name: out / f"{name}{SNAPSHOT_SUFFIX}" for name in sealed}
    for name, content in sealed.items():
        files.write_private(written[name], content)
    files.write_private(out / PUBLIC_KEY, signing.public_pem(kept.key))
    stale = sorted(set(out.glob(f"*{SNAPSHOT_SUFFIX}")) - set(written.values()))
    return Result(compiled, written, out / PUBLIC_KEY, tuple(stale))


def time_text(seconds: int) -> str:
    """Unix seconds as people write them."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
