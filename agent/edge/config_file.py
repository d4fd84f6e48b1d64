# SPDX-License-Identifier: Apache-2.0
"""Reads `agent.toml` from disk; what it may say is `agent.config`'s affair.

The host's name is the machine's, unless the file says another: one file serves a whole fleet.
"""

from __future__ import annotations

import socket
import tomllib
from pathlib import Path

from agent.config import Config, ConfigError, parse_config


def read_config(path: Path) -> Config:
    """Raises ConfigError, also for a file that cannot be read or is not TOML."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from error
    table.setdefault("host_name", socket.gethostname())
    return parse_config(table, str(path))
