# SPDX-License-Identifier: Apache-2.0
"""The controller's configuration: what `controller.toml` may say, and a strict reader of it.

Pure: it gets the parsed table, not the file. What must be equal on all controllers is in the store
and not here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from controller.fields import NAME_EXPECTED, is_name

_DNS_NAME = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    r"(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*\Z",
    re.ASCII,
)
_MOST = 8


class ConfigError(ValueError):
    """The configuration is wrong; the sentence names file, key and what was expected."""


@dataclass(frozen=True, slots=True)
class ControllerConfig:
    """name: in its certificate and in logs. advertise: what agents are told.

    names: DNS names and addresses in its certificate. listen_metrics: empty for none.
    flow_days, flow_edge_days: how long flow records, and edges, are kept. flow_rows: how
    many records at most.
    """

    name: str
    advertise: tuple[str, ...]
    names: tuple[str, ...]
    listen: str = "[::]:7440"
    listen_enrolment: str = "[::]:7441"
    listen_metrics: str = "127.0.0.1:9440"
    state_dir: Path = Path("/var/lib/cordon-controller")
    database: str = ""
    reflection: bool = False
    max_syncing: int = 64
    max_streams: int = 20_000
    flow_days: int = 7
    flow_edge_days: int = 180
    flow_rows: int = 20_000_000

    @property
    def master_key(self) -> Path:
        return self.state_dir / "master.key"

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{self.state_dir / 'cordon.db'}"


def parse_config(table: Mapping[str, object], file: str) -> ControllerConfig:
    """The checked configuration. `file` is named in errors. Raises ConfigError."""
    for key in table:
        if key not in _READERS:
            known = ", ".join(sorted(_READERS))
            raise ConfigError(f"{file}: unknown key {key!r}, expected one of {known}")
    for key in ("name", "advertise", "names"):
        if key not in table:
            raise ConfigError(f"{file}: the key {key!r} is missing")
    values = {}
    for key, value in table.items():
        try:
            values[key] = _READERS[key](value)
        except ValueError as error:
            raise ConfigError(f"{file}: {key} is {_shown(key, value)}, {error}") from None
    config = ControllerConfig(**values)  # type: ignore[arg-type]
    if config.flow_edge_days < config.flow_days:
        raise ConfigError(
            f"{file}: flow_edge_days is {config.flow_edge_days}, expected at least flow_days, "
            f"{config.flow_days}"
        )
    return config


def _shown(key: str, value: object) -> str:
    """A database's URL may hold a password."""
    return "wrong" if key == "database" else repr(value)


def _name(value: object) -> str:
    if not isinstance(value, str) or not is_name(value):
        raise ValueError(NAME_EXPECTED)
    return value


def endpoint(text: str) -> tuple[str, int]:
    """Host and port of HOST:PORT or [ADDRESS]:PORT. Raises ValueError."""
    host, _, port = text.rpartition(":")
    if port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65_535:
        if host.startswith("[") and host.endswith("]"):
            return str(ipaddress.IPv6Address(host[1:-1])), int(port)
        if _DNS_NAME.match(host):
            return host, int(port)
    raise ValueError('expected "HOST:PORT" or "[ADDRESS]:PORT"')


def _listen(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError('expected "ADDRESS:PORT" as text')
    endpoint(value)
    return value


def _listen_or_none(value: object) -> str:
    return "" if value == "" else _listen(value)


def _advertise(value: object) -> tuple[str, ...]:
    texts = _texts(value)
    for text in texts:
        if endpoint(text)[1] == 0:
            raise ValueError("expected ports from 1")
    return texts


def _names(value: object) -> tuple[str, ...]:
    texts = _texts(value)
    for text in texts:
        if not _DNS_NAME.match(text) and not _is_address(text):
            raise ValueError(f"expected DNS names and addresses, got {text!r}")
    return texts


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, list) and 1 <= len(value) <= _MOST:
        texts = tuple(item for item in value if isinstance(item, str))
        if len(texts) == len(value):
            return texts
    raise ValueError(f"expected a list of 1 to {_MOST} texts")


def _path(value: object) -> Path:
    if isinstance(value, str) and value.startswith("/") and "\0" not in value:
        return Path(value)
    raise ValueError("expected an absolute path as text")


def _database(value: object) -> str:
    if isinstance(value, str) and value.startswith(("postgresql+psycopg://", "sqlite:////")):
        return value
    raise ValueError("expected an URL postgresql+psycopg://... or sqlite:////PATH")


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError("expected true or false")


def _number(lowest: int, highest: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest:
            return value
        raise ValueError(f"expected a whole number from {lowest} to {highest}")

    return read


_READERS: Mapping[str, Callable[[object], object]] = {
    "name": _name,
    "listen": _listen,
    "listen_enrolment": _listen,
    "listen_metrics": _listen_or_none,
    "advertise": _advertise,
    "names": _names,
    "state_dir": _path,
    "database": _database,
    "reflection": _flag,
    "max_syncing": _number(1, 10_000),
    "max_streams": _number(1, 1_000_000),
    "flow_days": _number(1, 3650),
    "flow_edge_days": _number(1, 3650),
    "flow_rows": _number(1000, 10_000_000_000),
}
