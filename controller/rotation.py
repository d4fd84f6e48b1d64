# SPDX-License-Identifier: Apache-2.0
"""How a key that everybody believes is replaced while everybody works. Pure.

next (believed by those who have renewed since) -> active -> retired (still believed) -> ended. Each
step waits until the last certificate has ended whose holder cannot have heard of the step before:
that is known from the certificates themselves, so it holds whatever the settings were meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from controller.access_records import SecretRow

LAG_SECONDS = 300
"""Another controller may go on with what it had for so long."""
NEXT, ACTIVE, RETIRED, ENDED = "next", "active", "retired", "ended"

CertificatesEnd = Callable[[int], int]
"""When the last certificate ends that was issued before a time; 0 if there is none."""


class RotationRefused(Exception):
    """Too early, or out of order; the sentence says what comes first."""


class Rotation:
    """One kind of key: authorities, or signing keys. Each step gives the rows that change."""

    def __init__(self, what: str, rows: Sequence[SecretRow]) -> None:
        self._what = what
        self._rows = rows

    def find(self, stage: str) -> SecretRow | None:
        return next((row for row in self._rows if row.stage == stage), None)

    @property
    def active(self) -> SecretRow:
        row = self.find(ACTIVE)
        assert row is not None, "the store has one from its beginning"
        return row

    def prepare(self, new: SecretRow) -> Sequence[SecretRow]:
        """Raises RotationRefused."""
        if self.find(NEXT):
            raise RotationRefused(f"a next {self._what} is prepared already: activate it")
        if self.find(RETIRED):
            raise RotationRefused(f"the old {self._what} is still believed: retire it first")
        assert new.stage == NEXT, "what is new is not used yet"
        return [new]

    def activate(self, now: int, ends: CertificatesEnd) -> Sequence[SecretRow]:
        """Raises RotationRefused."""
        following = self.find(NEXT)
        if following is None:
            raise RotationRefused(f"no next {self._what} is prepared")
        self._wait(now, ends(following.since + LAG_SECONDS), "does not know the next one")
        return [
            replace(self.active, stage=RETIRED, since=now),
            replace(following, stage=ACTIVE, since=now),
        ]

    def retire(self, now: int, ends: CertificatesEnd) -> Sequence[SecretRow]:
        """Raises RotationRefused."""
        old = self.find(RETIRED)
        if old is None:
            raise RotationRefused(f"no old {self._what} is there to be retired")
        self._wait(now, ends(old.since + LAG_SECONDS), "may need the old one")
        return [replace(old, stage=ENDED, since=now)]

    def _wait(self, now: int, until: int, why: str) -> None:
        if now < until:
            raise RotationRefused(
                f"too early to go on with the {self._what}: somebody whose certificate holds for "
                f"{_duration(until - now)} {why}"
            )


def _duration(seconds: int) -> str:
    hours, minutes = divmod(-(-seconds // 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
