# SPDX-License-Identifier: Apache-2.0
"""How the agent stands with its policy: a state for programs and a sentence for people. Pure.

starting -> loading -> (cached | syncing) -> in_sync <-> stale -> expired
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """A gauge and a line in `status`."""

    STARTING = "starting"
    LOADING = "loading"
    SYNCING = "syncing"
    """No snapshot has been good in this run."""
    CACHED = "cached"
    """The last good one of an earlier run is in force; the file's was not in this run."""
    IN_SYNC = "in_sync"
    STALE = "stale"
    """The file has since gone, is refused, or is newer and not yet in force; the last good one
    stays."""
    EXPIRED = "expired"
    """The one in force has passed its expiry. Enforcement goes on."""

    SUSPENDED = "suspended"
    """An administrator detached the hooks: all traffic passes."""

    @property
    def good(self) -> bool:
        return self not in (State.SYNCING, State.STALE, State.EXPIRED, State.SUSPENDED)


class Stage(Enum):
    """How far the start is."""

    STARTING = 0
    LOADING = 1
    RUNNING = 2


_BEFORE = {Stage.STARTING: State.STARTING, Stage.LOADING: State.LOADING}

_NO_FILE = "; there is no snapshot file."


@dataclass
class Standing:
    """at: unix seconds of the last event that told the time.

    refused: why the snapshot file's content is not in force; empty if it is.
    suspended: the hooks are detached on purpose.
    controlled: policy comes from a controller; what is said of the file here is then said of it.
    """

    stage: Stage = Stage.STARTING
    at: float = 0.0
    refused: str = ""
    version: int | None = None
    expires: int = 0
    suspended: bool = False
    controlled: bool = False
    inherited: bool = False
    """The kernel judges by a policy of an earlier run."""
    _file: bytes | None = None
    """Digest of the snapshot file's content as last read; None if that is missing or refused."""
    _in_force: bytes | None = None
    """Digest of what is in force."""
    _file_was_good: bool = False

    def file_is_good(self, digest: bytes) -> None:
        """It may still have to come into force."""
        self._file = digest
        self._file_was_good |= digest == self._in_force
        self.refused = ""

    def file_is_refused(self, reason: str) -> None:
        self._drop_file()
        self.refused = reason

    def file_is_missing(self) -> None:
        self._drop_file()
        self.refused = ""

    def _drop_file(self) -> None:
        self._file_was_good |= self._file is not None
        self._file = None

    def is_of_file(self, digest: bytes) -> bool:
        return digest == self._file

    def in_force(self, version: int, expires: int, digest: bytes) -> None:
        self.version, self.expires, self._in_force = version, expires, digest
        self._file_was_good |= digest == self._file

    @property
    def pending(self) -> bool:
        """The file's content is good, and on its way into force."""
        return self._file is not None and self._file != self._in_force

    @property
    def state(self) -> State:
        if self.stage in _BEFORE:
            return _BEFORE[self.stage]
        if self.suspended:
            return State.SUSPENDED
        if self.version is None:
            return State.SYNCING
        if self.at >= self.expires:
            return State.EXPIRED
        if self._file is not None and not self.pending:
            return State.IN_SYNC
        return State.STALE if self._file_was_good else State.CACHED

    @property
    def summary(self) -> str:
        """What is in force and what is wrong, if anything."""
        if self.stage in _BEFORE:
            return "The datapath is being loaded."
        if self.suspended:
            return "Suspended by an administrator: all traffic passes until `cordon-agent resume`."
        return f"{self._policy()}{self._expiry()}{self._trouble()}"

    def _policy(self) -> str:
        if self.version is not None:
            return f"Policy version {self.version} is in force"
        if self.inherited:
            return "What the last run of the agent left in force is enforced, its cache is lost"
        return "No policy has been in force since the agent started"

    def _expiry(self) -> str:
        expired = self.version is not None and self.at >= self.expires
        return ", it has expired and goes on being enforced" if expired else ""

    def _trouble(self) -> str:
        if self.refused:
            newest = "the controller's newest" if self.controlled else "the snapshot file"
            return f"; {newest} is not: {self.refused}"
        if self._file is None:
            return "; no controller is heard." if self.controlled else _NO_FILE
        if self.pending and self.version is not None:
            return "; the snapshot file's is on its way."
        return "."
