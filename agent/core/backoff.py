# SPDX-License-Identifier: Apache-2.0
"""How long to wait before the next attempt: with full jitter, or a fleet comes as one. Pure."""

from __future__ import annotations

from dataclasses import dataclass

LEAST_SECONDS = 0.5
MOST_SECONDS = 60.0


@dataclass
class Backoff:
    attempts: int = 0

    def wait(self, random: float, spread: float = 0.0) -> float:
        """random: from 0 up to 1. spread: seconds that the first attempt is spread over already.

        Each call counts as an attempt that failed.
        """
        grown = LEAST_SECONDS * 2.0 ** min(self.attempts, 16)
        most = min(MOST_SECONDS, max(grown, spread))
        self.attempts += 1
        return most * random

    def reset(self) -> None:
        self.attempts = 0
