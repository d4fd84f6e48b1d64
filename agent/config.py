# SPDX-License-Identifier: Apache-2.0
"""The agent's configuration: a table of what `agent.toml` may say, and a strict reader of it.

Pure: it gets the parsed table, not the file. A key that nobody knows is refused, for a misspelt one
would otherwise be a setting that silently does not hold.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_INSTANCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class ConfigError(ValueError):
    """The configuration is wrong; the sentence names file, key and what was expected."""


@dataclass(frozen=True, slots=True)
class Config:
    """host_name: must be the one that the snapshot is for.

    cgroup_root: what the instance guards; None is the whole hierarchy.
    snapshot: the signed policy file that is watched.
    policy_key: file with the Ed25519 public key that snapshots must be signed with.
    hold_limit_ms: overrides the snapshot's setting.
    """

    host_name: str
    snapshot: Path
    policy_key: Path
    instance: str = "default"
    cgroup_root: Path | None = None
    bpffs: Path = Path("/sys/fs/bpf")
    state_dir: Path = Path("/var/lib/cordon")
    run_dir: Path = Path("/run/cordon")
    hold_limit_ms: int | None = None
    flow_history: int = 1000
    """Flow events kept for an observer that comes later."""

    @property
    def pins(self) -> Path:
        return self.bpffs / "cordon" / self.instance

    @property
    def cache(self) -> Path:
        return self.state_dir / self.instance / "policy.cache"

    @property
    def socket(self) -> Path:
        return self.run_dir / f"{self.instance}.sock"

    @property
    def lock(self) -> Path:
        return self.run_dir / f"{self.instance}.lock"


_PATHS = ("snapshot", "policy_key", "cgroup_root", "bpffs", "state_dir", "run_dir")
_NAMES = ("host_name", "instance")
_NUMBERS = {"hold_limit_ms": (1, 60_000), "flow_history": (0, 100_000)}
_REQUIRED = ("host_name", "snapshot", "policy_key")
KEYS = (*_NAMES, *_PATHS, *_NUMBERS)


def parse_config(table: Mapping[str, object], file: str) -> Config:
    """The checked configuration. `file` is named in errors. Raises ConfigError."""
    for key in table:
        if key not in KEYS:
            known = ", ".join(sorted(KEYS))
            raise ConfigError(f"{file}: unknown key {key!r}, expected one of {known}")
    for key in _REQUIRED:
        if key not in table:
            raise ConfigError(f"{file}: the key {key!r} is missing, expected {_expected(key)}")
    return Config(**{key: _value(file, key, value) for key, value in table.items()})  # type: ignore[arg-type]


def _value(file: str, key: str, value: object) -> str | int | Path:
    if key in _NUMBERS:
        lowest, highest = _NUMBERS[key]
        if isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest:
            return value
    elif isinstance(value, str):
        if key in _PATHS and value.startswith("/") and "\0" not in value:
            return Path(value)
        if key == "instance" and _INSTANCE.fullmatch(value):
            return value
        if key == "host_name" and value.strip():
            return value
    raise ConfigError(f"{file}: {key} is {value!r}, expected {_expected(key)}")


def _expected(key: str) -> str:
    if key in _NUMBERS:
        lowest, highest = _NUMBERS[key]
        return f"a whole number from {lowest} to {highest}"
    if key in _PATHS:
        return "an absolute path as text"
    if key == "instance":
        return "1 to 64 letters, digits, '-', '_' or '.', the first a letter or digit"
    return "a name as text"
