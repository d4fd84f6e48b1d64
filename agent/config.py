# SPDX-License-Identifier: Apache-2.0
"""The agent's configuration: a table of what `agent.toml` may say, and a strict reader of it.

Pure: it gets the parsed table, not the file. A key that nobody knows is refused, for a misspelt one
would otherwise be a setting that silently does not hold.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_PORT = re.compile(r"[0-9]{1,5}")
_INSTANCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class ConfigError(ValueError):
    """The configuration is wrong; the sentence names file, key and what was expected."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """host: an IP address. port: 0 takes a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        return ipaddress.ip_address(self.host).is_loopback


@dataclass(frozen=True, slots=True)
class Config:
    """host_name: must be the one that the snapshot is for.

    cgroup_root: what the instance guards; None is the whole hierarchy.
    snapshot: the signed policy file that is watched; None where a controller is asked instead.
    policy_key: file with the Ed25519 public key that snapshots must be signed with; as snapshot.
    controller_lifeline: whether the way to the controllers stays open whatever policy says.
    hold_limit_ms: overrides the snapshot's setting.
    metrics: where Prometheus may ask; None is nowhere.
    metrics_certificate, metrics_key: PEM files; with them it is HTTPS.
    metrics_users: file of those who may ask, as `cordon-agent metrics-user` writes its lines.
    metrics_rules: how many rules may have a series of their own.
    """

    host_name: str
    snapshot: Path | None = None
    policy_key: Path | None = None
    instance: str = "default"
    cgroup_root: Path | None = None
    bpffs: Path = Path("/sys/fs/bpf")
    state_dir: Path = Path("/var/lib/cordon")
    run_dir: Path = Path("/run/cordon")
    hold_limit_ms: int | None = None
    flow_history: int = 1000
    """Flow events kept for an observer that comes later."""
    refuse: str = "reject"
    """reject: who proved who it is learns at once that it is refused. drop: nobody does."""
    log_level: str = "info"
    """debug, info, warning or error."""
    metrics: Endpoint | None = Endpoint("127.0.0.1", 9420)
    metrics_certificate: Path | None = None
    metrics_key: Path | None = None
    metrics_users: Path | None = None
    metrics_rules: int = 0
    controller_lifeline: bool = True
    ship_flows: bool = True
    """Whether a controller, where there is one, gets flow records."""

    @property
    def pins(self) -> Path:
        return self.bpffs / "cordon" / self.instance

    @property
    def cache(self) -> Path:
        return self.state_dir / self.instance / "policy.cache"

    @property
    def identity(self) -> Path:
        """What `cordon-agent join` leaves."""
        return self.state_dir / self.instance / "identity"

    @property
    def socket(self) -> Path:
        return self.run_dir / f"{self.instance}.sock"

    @property
    def lock(self) -> Path:
        return self.run_dir / f"{self.instance}.lock"


_METRICS_PATHS = ("metrics_certificate", "metrics_key", "metrics_users")
_PATHS = ("snapshot", "policy_key", "cgroup_root", "bpffs", "state_dir", "run_dir", *_METRICS_PATHS)
_NAMES = ("host_name", "instance")
_NUMBERS = {
    "hold_limit_ms": (1, 60_000),
    "flow_history": (0, 100_000),
    "metrics_rules": (0, 1000),
}
_ENDPOINTS = ("metrics",)
_CHOICES = {
    "log_level": ("debug", "info", "warning", "error"),
    "refuse": ("reject", "drop"),
}
OFF = "off"
_SWITCHES = ("controller_lifeline", "ship_flows")
_REQUIRED = ("host_name",)
KEYS = (*_NAMES, *_PATHS, *_NUMBERS, *_ENDPOINTS, *_CHOICES, *_SWITCHES)


def parse_config(table: Mapping[str, object], file: str) -> Config:
    """The checked configuration. `file` is named in errors. Raises ConfigError."""
    for key in table:
        if key not in KEYS:
            known = ", ".join(sorted(KEYS))
            raise ConfigError(f"{file}: unknown key {key!r}, expected one of {known}")
    for key in _REQUIRED:
        if key not in table:
            raise ConfigError(f"{file}: the key {key!r} is missing, expected {_expected(key)}")
    config = Config(**{key: _value(file, key, value) for key, value in table.items()})  # type: ignore[arg-type]
    if (config.snapshot is None) != (config.policy_key is None):
        raise ConfigError(
            f"{file}: expected snapshot and policy_key together, or neither where the host has "
            "joined a controller"
        )
    if (config.metrics_certificate is None) != (config.metrics_key is None):
        raise ConfigError(
            f"{file}: expected metrics_certificate and metrics_key together, or neither"
        )
    return config


def _value(file: str, key: str, value: object) -> str | int | Path | Endpoint | None:
    if key in _SWITCHES and isinstance(value, bool):
        return value
    if key in _NUMBERS:
        lowest, highest = _NUMBERS[key]
        if isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest:
            return value
    elif isinstance(value, str):
        if key in _PATHS and value.startswith("/") and "\0" not in value:
            return Path(value)
        if value in _CHOICES.get(key, ()):
            return value
        if key in _ENDPOINTS and value == OFF:
            return None
        if key in _ENDPOINTS and (endpoint := _endpoint(value)) is not None:
            return endpoint
        if key == "instance" and _INSTANCE.fullmatch(value):
            return value
        if key == "host_name" and value.strip():
            return value
    raise ConfigError(f"{file}: {key} is {value!r}, expected {_expected(key)}")


def _endpoint(text: str) -> Endpoint | None:
    """ "127.0.0.1:9420" or "[::1]:9420"; None for anything else."""
    host, colon, port = text.rpartition(":")
    if not colon or not _PORT.fullmatch(port) or int(port) > 65535:
        return None
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None
    bracketed = host.startswith("[") and host.endswith("]")
    return Endpoint(str(address), int(port)) if bracketed == (address.version == 6) else None


def _expected(key: str) -> str:
    if key in _SWITCHES:
        return "true or false"
    if key in _CHOICES:
        return f"one of {', '.join(_CHOICES[key])}"
    if key in _ENDPOINTS:
        return f'an address with a port, such as "127.0.0.1:9420", or "{OFF}"'
    if key in _NUMBERS:
        lowest, highest = _NUMBERS[key]
        return f"a whole number from {lowest} to {highest}"
    if key in _PATHS:
        return "an absolute path as text"
    if key == "instance":
        return "1 to 64 letters, digits, '-', '_' or '.', the first a letter or digit"
    return "a name as text"
