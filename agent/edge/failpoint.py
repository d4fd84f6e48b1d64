# SPDX-License-Identifier: Apache-2.0
"""Named places at which a test lets the agent die, wait or fail: before and after what must last.

`CORDON_FAILPOINT=NAME[@N]:ACTION` arms one of them for this process and its children: when it is
reached for the Nth time (1 if not said) it does ACTION, which is `kill` (SIGKILL to this very
process), `sleep:SECONDS` or `error` (what a system call that fails there raises). Without the
variable a failpoint is one comparison. A name or an action that there is not ends the start with a
sentence, for a test whose fault is never injected would pass.

Not for what happens from outside (signals, full disks, removed pins): tests do that for real.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import threading
import time
from dataclasses import dataclass, field

from agent.edge.libbpf import BpfError

VARIABLE = "CORDON_FAILPOINT"
NAMES = frozenset(
    {
        # cache_file, whichever file it writes
        "file.before-write",
        "file.before-sync",
        "file.before-rename",
        "file.after-rename",
        # policy_maps: once for each of the seven maps, then once
        "policy.filled",
        "policy.before-install",
        "policy.before-switch",
        "policy.after-switch",
        # loader: for each map, for each program, once; while an older layout is taken away
        "load.before-discard",
        "load.before-pin-map",
        "load.before-pin-program",
        "load.before-build",
        # links: for each hook
        "attach.before-link",
        "attach.before-pin",
        "attach.before-swap",
        "attach.after-swap",
        # identity_files: a new key's way into its place
        "identity.after-certificate",
        "identity.after-key",
        "identity.before-cleaning",
    }
)
_FORM = re.compile(r"([a-z.-]+)(?:@([1-9][0-9]{0,5}))?:(kill|error|sleep:([0-9]+(?:\.[0-9]+)?))")
_MAX_SLEEP_SECONDS = 600.0


class FailpointError(ValueError):
    """What the variable says is no failpoint; the sentence says why."""


@dataclass(slots=True)
class Failpoint:
    """seconds: None but for `sleep`. left: how often it is reached before it acts."""

    name: str
    action: str
    seconds: float | None
    left: int
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def pass_by(self) -> None:
        """Raises BpfError where the action is `error`."""
        with self._lock:
            self.left -= 1
            due = self.left == 0
        if not due:
            return
        if self.seconds is not None:
            time.sleep(self.seconds)
        elif self.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        else:
            raise BpfError(errno.EIO, f"failpoint {self.name}")


_armed: Failpoint | None = None


def parse(text: str) -> Failpoint:
    """Raises FailpointError."""
    form = _FORM.fullmatch(text)
    if form is None:
        raise FailpointError(
            f"{VARIABLE}={text!r}: expected NAME[@N]:ACTION with ACTION kill, error or "
            "sleep:SECONDS; unset it"
        )
    name, count, action, seconds = form.groups()
    if name not in NAMES:
        raise FailpointError(
            f"{VARIABLE}={text!r}: there is no failpoint {name}; there are "
            f"{', '.join(sorted(NAMES))}"
        )
    if action == "error" and ".after-" in name:
        raise FailpointError(f"{VARIABLE}={text!r}: what is done by then cannot fail any more")
    if seconds is not None and float(seconds) > _MAX_SLEEP_SECONDS:
        raise FailpointError(f"{VARIABLE}={text!r}: at most {_MAX_SLEEP_SECONDS:g} seconds")
    return Failpoint(name, action, float(seconds) if seconds else None, int(count or 1))


def arm() -> None:
    """At the start of a command: what the environment says. Raises FailpointError."""
    global _armed
    text = os.environ.get(VARIABLE)
    _armed = None if text is None else parse(text)


def armed() -> Failpoint | None:
    return _armed


def reached(name: str) -> None:
    """This is the place of that name. Raises BpfError if a test wants it to fail here."""
    if _armed is not None and _armed.name == name:
        _armed.pass_by()
