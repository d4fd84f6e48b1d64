# SPDX-License-Identifier: Apache-2.0
"""What a policy wants to know of processes: which facts are read at all, which answers are kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agent.core.model import Workload


def follows_from_executable_key(workloads: Iterable[Workload]) -> bool:
    """Whether identities follow from file, user and cgroup alone, so that the kernel may keep them.

    A group is not in the kernel's key: two processes that differ only in it would share an entry.
    A content's hash is: whoever writes the file changes its ctime.
    """
    return all(s.group is None for workload in workloads for s in workload.match)


@dataclass(frozen=True, slots=True)
class Interest:
    """Which facts matter to the policy in force, so that no others are looked at.

    exe_paths: only for these is the file on the host compared.
    containers: whether runtimes' files are asked for names and images.
    hashes: whether any content is hashed; hash_limit_bytes: and up to which size.
    """

    exe_paths: frozenset[str] = frozenset()
    containers: bool = False
    hashes: bool = False
    hash_limit_bytes: int = 0


def interest(workloads: Iterable[Workload], hash_limit_bytes: int) -> Interest:
    selectors = [selector for workload in workloads for selector in workload.match]
    return Interest(
        exe_paths=frozenset(s.exe for s in selectors if s.exe is not None),
        containers=any(s.container is not None for s in selectors),
        hashes=any(s.sha256 is not None for s in selectors),
        hash_limit_bytes=hash_limit_bytes,
    )
