# SPDX-License-Identifier: Apache-2.0
"""The BPF file system: where pins live. systemd mounts it; elsewhere whoever needs it does."""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path

_MAGIC = 0xCAFE4A11
"""BPF_FS_MAGIC, include/uapi/linux/magic.h."""
_MOUNT_SECONDS = 10


class BpffsError(Exception):
    """No BPF file system can be had at the wanted place."""


class _Statfs(ctypes.Structure):
    _fields_ = (("f_type", ctypes.c_long), ("rest", ctypes.c_long * 31))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def is_bpffs(path: Path) -> bool:
    """Whether `path` exists and lies on a BPF file system."""
    result = _Statfs()
    if _libc().statfs(os.fsencode(path), ctypes.byref(result)) != 0:
        return False
    return bool(result.f_type & 0xFFFFFFFF == _MAGIC)


def ensure_mounted(path: Path) -> None:
    """Mount a BPF file system at `path`, readable by root alone, unless there is one.

    Raises BpffsError.
    """
    if is_bpffs(path):
        return
    if _in_fence():
        _mount_on_host(path)
        return
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _libc().mount(b"bpf", os.fsencode(path), b"bpf", 0, b"mode=0700") != 0:
        reason = os.strerror(ctypes.get_errno())
        raise BpffsError(
            f"cannot mount a BPF file system at {path}: {reason}; mount one there, or set `bpffs` "
            "in the configuration to where there is one"
        )


def _in_fence() -> bool:
    """Whether this is a service whose mounts the host does not see (ProtectSystem= and the like).

    Pins on such a mount would go with the service, and enforcement with them.
    """
    if "INVOCATION_ID" not in os.environ:
        return False
    ours, hosts = (os.stat(f"/proc/{who}/ns/mnt") for who in ("self", "1"))
    return (ours.st_dev, ours.st_ino) != (hosts.st_dev, hosts.st_ino)


def _mount_on_host(path: Path) -> None:
    """What is mounted there comes into the fence by itself."""
    enter = ["nsenter", "--target", "1", "--mount", "--"]
    mount = ["mount", "-t", "bpf", "-o", "mode=0700", "bpf", str(path)]
    done = subprocess.run(
        [*enter, *mount], capture_output=True, text=True, timeout=_MOUNT_SECONDS, check=False
    )
    if done.returncode != 0 or not is_bpffs(path):
        raise BpffsError(
            f"cannot mount a BPF file system at {path} of the host: "
            f"{done.stderr.strip() or 'it is not seen from here'}; mount one there"
        )
