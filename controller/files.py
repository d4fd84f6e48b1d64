# SPDX-License-Identifier: Apache-2.0
"""Files of the offline compiler: bounded reads, atomic private writes, one compile at a time.

Everything that leaves here is mode 0600: snapshots hold keys.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from controller.problems import Source, refuse
from controller.yamlfile import MAX_BYTES

PRIVATE = 0o600
PRIVATE_FOLDER = 0o700
MAX_FILES = 10_000
_YAML = (".yaml", ".yml")


class StateError(Exception):
    """A file of the state or the output cannot be used; the sentence names it and what to do."""


def read_input(path: Path, limit: int = MAX_BYTES) -> bytes:
    """A document of the user's; one byte more than allowed is enough to see that it is too long.

    Raises InputRefused.
    """
    try:
        if not path.is_file():
            raise refuse(Source(str(path)), "expected a file; there is none")
        with path.open("rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise refuse(Source(str(path)), f"cannot be read: {error.strerror}") from error


def yaml_files(folder: Path) -> list[Path]:
    """All YAML files below a folder, hidden ones left out, in the order of their names.

    Raises InputRefused.
    """
    if not folder.is_dir():
        raise refuse(Source(str(folder)), "expected a folder with policy documents; there is none")
    found: list[Path] = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        hits = [n for n in names if n.endswith(_YAML) and not n.startswith(".")]
        found.extend(Path(root) / name for name in sorted(hits))
        if len(found) > MAX_FILES:
            raise refuse(Source(str(folder)), f"expected at most {MAX_FILES} YAML files")
    if not found:
        raise refuse(Source(str(folder)), "expected at least one file *.yaml; there is none")
    return found


def make_folder(folder: Path, mode: int) -> None:
    """Raises StateError."""
    try:
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise StateError(f"{folder}: cannot be made: {error.strerror}") from error


def write_private(path: Path, content: bytes) -> None:
    """All or nothing, also across a crash: write aside, sync, rename. Raises StateError."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, PRIVATE)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise StateError(f"{path}: cannot be written: {error.strerror}") from error


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_private(path: Path) -> bytes | None:
    """A secret of ours, None if there is no such file. Raises StateError if others may read it."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            if mode & 0o077:
                raise StateError(
                    f"{path}: expected mode 0600, got {mode:04o}: others may have read this "
                    "secret; if they have not, run chmod 600 on it"
                )
            return file.read(MAX_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(f"{path}: cannot be read: {error.strerror}") from error


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One compile at a time on one state: two would give out the same numbers."""
    try:
        fd = os.open(
            folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE
        )
    except OSError as error:
        raise StateError(f"{folder}: cannot be locked: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise StateError(f"{folder}: another compile uses this state: wait for its end") from None
    finally:
        os.close(fd)
