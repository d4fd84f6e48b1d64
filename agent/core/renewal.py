# SPDX-License-Identifier: Apache-2.0
"""When the host's certificate is renewed: at half of its life, and again until it is. Pure."""

from __future__ import annotations

from agent.core import stream
from agent.core.commands import Command, Level, log
from agent.core.stream import SetTimer, Timer

MOST_SECONDS = 3600.0
"""Timers follow the monotonic clock, certificates the wall's: looked at again so often."""
RETRY_SECONDS = 60.0


class Renewal:
    """after: unix seconds; the controller has put the jitter in."""

    def __init__(self, after: float) -> None:
        self._after = after

    def timer(self, now: float) -> Command:
        return SetTimer(Timer.RENEW, min(max(self._after - now, 1.0), MOST_SECONDS))

    def fired(self, now: float) -> list[Command]:
        return [self.timer(now)] if now < self._after else [stream.RenewCertificate()]

    def renewed(self, event: stream.CertificateRenewed, now: float) -> list[Command]:
        self._after = event.renew_after
        said = log(Level.INFO, "certificate renewed", renew_after=int(event.renew_after))
        return [said, self.timer(now)]

    def failed(self, event: stream.CertificateNotRenewed) -> list[Command]:
        said = log(
            Level.WARNING,
            "the certificate could not be renewed, will retry in a minute",
            reason=event.reason,
        )
        return [said, SetTimer(Timer.RENEW, RETRY_SECONDS * (0.5 + event.random))]
