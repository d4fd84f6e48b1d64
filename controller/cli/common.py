# SPDX-License-Identifier: Apache-2.0
"""What every command needs: the configuration, the master key, the open store."""

from __future__ import annotations

import contextlib
import os
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from agent.edge import clock
from controller import files
from controller.config import ConfigError, ControllerConfig, parse_config
from controller.files import StateError
from controller.records import Actor
from controller.storage import StorageError
from controller.store import SqlStorage, open_store
from controller.store.sealed import MASTER_KEY_BYTES

F = TypeVar("F", bound=Callable[..., Any])
FAILED = 1
BAD_INPUT = 2
CREDENTIAL = "cordon-master-key"
HERE = Actor("controller")


def config_option(command: F) -> F:
    return click.option(
        "--config",
        "path",
        type=click.Path(path_type=Path),
        default=Path("/etc/cordon/controller.toml"),
        show_default=True,
        help="The controller's configuration.",
    )(command)


def why_option(command: F) -> F:
    return click.option("--why", "-m", required=True, help="For the audit log.")(command)


def end(sentence: object, status: int) -> NoReturn:
    click.echo(f"cordon-controller: {sentence}", err=True)
    sys.exit(status)


def now() -> int:
    return int(clock.unix_seconds())


def read_config(path: Path) -> ControllerConfig:
    """Ends the process for a wrong one."""
    try:
        return parse_config(tomllib.loads(path.read_text(encoding="utf-8")), str(path))
    except OSError as error:
        end(f"{path}: cannot be read: {error.strerror}", BAD_INPUT)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        end(f"{path}: is not TOML: {error}", BAD_INPUT)
    except ConfigError as error:
        end(error, BAD_INPUT)


def master_key(config: ControllerConfig) -> bytes | None:
    """From systemd's credentials or the state folder; None if it is in neither.

    Raises StateError.
    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    path = Path(folder) / CREDENTIAL if folder else None
    if path is None or not path.exists():
        path = config.master_key
    key = files.read_private(path)
    if key is not None and len(key) != MASTER_KEY_BYTES:
        raise StateError(f"{path}: expected {MASTER_KEY_BYTES} bytes, got {len(key)}")
    return key


@contextlib.contextmanager
def opened(config: ControllerConfig) -> Iterator[SqlStorage]:
    """The store, closed at the end. Ends the process where it cannot be opened or fails."""
    try:
        key = master_key(config)
        if key is None:
            end(
                f"{config.master_key}: there is no master key: `cordon-controller init` makes one "
                "with a new fleet; a further controller needs a copy of it",
                FAILED,
            )
        storage = open_store(config.database_url, key)
    except (StateError, StorageError) as error:
        end(error, FAILED)
    try:
        yield storage
    except StorageError as error:
        end(error, FAILED)
    finally:
        storage.close()
