# SPDX-License-Identifier: Apache-2.0
"""The name of a lab, which is also the record of who owns it.

Every trace of a lab (run folder, namespaces, cgroups) starts with `cordon-lab-<pid>-<start>-<n>`,
pid and start time being those of the process that built it. So a trace can be told from those of
a living lab at any moment, even if the owner was killed between its first two system calls: there
is no file of owners that could be missing or half written.
"""

import itertools
import os
import re
from pathlib import Path

PREFIX = "cordon-lab-"
_NAME = re.compile(rf"^({PREFIX}(\d+)-(\d+)-\d+)(?:-|$)")
_counter = itertools.count()


def start_time(pid: int) -> int | None:
    """When the process began, in clock ticks since boot; None if it is gone or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()  # the command's name may hold blanks and brackets
    return None if fields[0] in "ZX" else int(fields[19])


def new_name() -> str:
    """A name that no other lab has, owned by this process."""
    pid = os.getpid()
    return f"{PREFIX}{pid}-{start_time(pid)}-{next(_counter)}"


def lab_name_in(entry: str) -> str | None:
    """The lab to which a folder, namespace or cgroup of this name belongs; None if to none."""
    match = _NAME.match(entry)
    return match[1] if match else None


def owner_is_alive(name: str) -> bool:
    """Whether the process that built the lab of this name still runs."""
    match = _NAME.match(name)
    return match is not None and start_time(int(match[2])) == int(match[3])
