# SPDX-License-Identifier: Apache-2.0
"""Whether the kernel still runs what it was given, and what to do when it does not. Pure.

An attach that once succeeded proves nothing later: pins can be wiped, links detached by a tool, the
BPF file system unmounted, and all of these leave traffic open. So the daemon asks the kernel every
few seconds, and only an answer without fault feeds the service manager's watchdog: a daemon that
can neither find its programs nor put them back is started again. So is one that for long has lacked
the descriptors or the memory to look: that is no tampering, and nothing is put back for it.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.core.commands import Command, FeedWatchdog, Level, Log, Repair
from agent.core.events import NotRepaired, Repaired, Verified

MAX_NAMED = 5


@dataclass
class Guarding:
    """How enforcement was found. What is public is for reading.

    verified: the last look found everything in place.
    suspended: an administrator detached what judges (`cordon-agent suspend`); what follows
        processes stays and is mended on.
    repairs: how often something had to be put back since the agent started.
    last: the sentence of the last finding; empty if there never was one.
    unseen: why the last look could not be made; empty if it was.
    """

    verified: bool = False
    suspended: bool = False
    repairs: int = 0
    last: str = ""
    unseen: str = ""
    _repairing: bool = False

    def on_verified(self, event: Verified) -> list[Command]:
        self.verified = not (event.missing or event.suspended or event.unseen)
        said = [*self._tell_suspension(event.suspended), *self._tell_unseen(event.unseen)]
        if event.unseen:
            return said
        if not event.missing:
            return [*said, FeedWatchdog()]
        if self._repairing:
            return said
        self._repairing = True
        self.last = f"found missing: {_named(event.missing)}"
        message = "enforcement was tampered with, putting it back"
        told = Log(Level.ERROR, message, (("missing", _named(event.missing)),))
        return [*said, told, Repair(event.missing)]

    def on_repaired(self, event: Repaired) -> list[Command]:
        self._repairing = False
        self.repairs += 1
        self.last += ", put back"
        fields = (("repairs", self.repairs), ("seconds", round(event.seconds, 4)))
        return [Log(Level.WARNING, "enforcement is back", fields)]

    def on_not_repaired(self, event: NotRepaired) -> list[Command]:
        """The next look tries again; without a good one the watchdog starts the agent anew."""
        self._repairing = False
        self.last += f", not put back: {event.reason}"
        message = "enforcement cannot be put back, will retry at the next check"
        return [Log(Level.ERROR, message, (("reason", event.reason),))]

    def _tell_suspension(self, suspended: bool) -> list[Command]:
        if suspended is self.suspended:
            return []
        self.suspended = suspended
        if not suspended:
            return [Log(Level.INFO, "resumed by an administrator")]
        return [Log(Level.WARNING, "suspended by an administrator, all traffic passes")]

    def _tell_unseen(self, reason: str) -> list[Command]:
        """Once, however many looks fail."""
        before, self.unseen = self.unseen, reason
        if bool(reason) is bool(before):
            return []
        if not reason:
            return [Log(Level.INFO, "enforcement can be looked at again")]
        message = "cannot look whether enforcement stands, will retry at the next check"
        return [Log(Level.WARNING, message, (("reason", reason),))]


def _named(missing: tuple[str, ...]) -> str:
    rest = len(missing) - MAX_NAMED
    names = ", ".join(missing[:MAX_NAMED])
    return f"{names} and {rest} more" if rest > 0 else names
