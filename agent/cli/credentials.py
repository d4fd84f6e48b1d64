# SPDX-License-Identifier: Apache-2.0
"""Who the administrator is, on disk: one file, whole or not there, that nobody else may read.

Key and certificate are in one file and not in two as the agent's are: two commands that renew at
the same moment then leave one pair that fits, whichever comes last. The key of a login that was not
answered waits in a file of its own: the same token with the same key is answered again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from agent.edge import identity_files
from controller.files import PRIVATE_FOLDER, StateError, make_folder, read_private, write_private

FILE, PENDING_KEY = "login.json", "login.key.next"
FOLDER_VARIABLE = "CORDON_CONFIG_DIR"


class NotLoggedIn(Exception):
    """There is no login that can be used; the sentence says what to do."""


@dataclass(frozen=True, slots=True)
class Login:
    """controllers: HOST:PORT. chain, roots, key: PEM. expires, renew_after: unix seconds."""

    name: str
    role: str
    trust_domain: str
    controllers: tuple[str, ...]
    expires: int
    renew_after: int
    chain: bytes
    roots: bytes
    key: bytes = field(repr=False)


def folder() -> Path:
    """~/.config/cordon, unless the environment names another one."""
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named)
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "cordon"


def load() -> Login:
    """Raises NotLoggedIn; StateError for a file that others may read."""
    path = folder() / FILE
    content = read_private(path)
    if content is None:
        raise NotLoggedIn(
            f"you are not logged in, {path} does not exist: run `cordonctl login --controller "
            "HOST:PORT` with a token of an operator's"
        )
    try:
        return _login(json.loads(content))
    except (KeyError, TypeError, ValueError) as error:
        raise NotLoggedIn(f"{path} cannot be read ({error!r}): run `cordonctl login`") from None


def _login(table: Mapping[str, Any]) -> Login:
    wanted: dict[str, Any] = {one.name: table[one.name] for one in fields(Login)}
    controllers = wanted["controllers"]
    if not isinstance(controllers, list) or not controllers:
        raise ValueError("no controllers")
    wanted["controllers"] = tuple(map(_text, controllers))
    for name in ("name", "role", "trust_domain"):
        wanted[name] = _text(wanted[name])
    for name in ("chain", "roots", "key"):
        wanted[name] = _text(wanted[name]).encode("ascii")
    for name in ("expires", "renew_after"):
        wanted[name] = int(wanted[name])
    return Login(**wanted)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("expected text")
    return value


def save(login: Login) -> None:
    """Raises StateError."""
    table = {
        name: value.decode("ascii") if isinstance(value, bytes) else value
        for name, value in asdict(login).items()
    }
    write_private(private_folder() / FILE, (json.dumps(table, indent=1) + "\n").encode())


def pending_key() -> bytes:
    """The key of the login to come, PEM; on disk before anybody is asked. Raises StateError."""
    path = private_folder() / PENDING_KEY
    key = read_private(path)
    if key is None:
        key = identity_files.new_key()
        write_private(path, key)
    return key


def private_folder() -> Path:
    """Made if it is not there; one that others may enter is refused. Raises StateError."""
    path = folder()
    make_folder(path, PRIVATE_FOLDER)
    try:
        mode = path.stat().st_mode & 0o777
    except OSError as error:
        raise StateError(f"{path}: cannot be used: {error.strerror}") from None
    if mode & 0o077:
        raise StateError(f"{path}: expected mode 0700, got {mode:04o}: run chmod 700 on it")
    return path


def forget(*names: str) -> bool:
    """Remove the login, or only the named files of it; whether one was there. Raises StateError."""
    found = False
    for name in names or (FILE, PENDING_KEY):
        path = folder() / name
        try:
            path.unlink()
            found = True
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise StateError(f"{path}: cannot be removed: {error.strerror}") from None
    return found
