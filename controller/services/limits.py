# SPDX-License-Identifier: Apache-2.0
"""How often somebody may ask for a certificate, or for what his role does not have. The secret of a
token cannot be guessed; this keeps those who try from costing the database and the authority their
time."""

from __future__ import annotations

import ipaddress

from agent.edge import clock
from controller.ratelimit import Buckets, Rate

ATTEMPTS = Rate(burst=100, per_second=20)
"""From one address, which may be that of many hosts behind it."""
FAILURES = Rate(burst=10, per_second=0.1)
"""From one address: refused tokens."""
ALL_ATTEMPTS = Rate(burst=1000, per_second=200)
RENEWALS = Rate(burst=10, per_second=0.1)
"""By one certificate's name."""
REFUSALS = Rate(burst=100, per_second=1)
"""By one administrator."""


class JoinLimits:
    """Of Enrol and Login."""

    def __init__(self) -> None:
        self._attempts = Buckets(ATTEMPTS)
        self._failures = Buckets(FAILURES)
        self._all = Buckets(ALL_ATTEMPTS, max_keys=1)

    def attempt(self, address: str) -> float:
        """0, or after how many seconds to come again."""
        now, key = _now(), _key(address)
        return (
            self._failures.look(key, now)
            or self._attempts.take(key, now)
            or self._all.take("all", now)
        )

    def failed(self, address: str) -> None:
        self._failures.take(_key(address), _now())


class RefusalLimits:
    """Of calls that a role is too low for: each writes into the audit log."""

    def __init__(self) -> None:
        self._refusals = Buckets(REFUSALS)

    def attempt(self, name: str) -> float:
        """0, or after how many seconds to come again."""
        return self._refusals.take(name, _now())


class RenewLimits:
    """Of Renew."""

    def __init__(self) -> None:
        self._renewals = Buckets(RENEWALS)

    def attempt(self, name: str) -> float:
        """0, or after how many seconds to come again."""
        return self._renewals.take(name, _now())


def _now() -> float:
    return clock.monotonic_ns() / 1e9


def _key(address: str) -> str:
    """Of IPv6 the network: whoever has one address has its 2^64."""
    if ":" not in address:
        return address
    return str(ipaddress.ip_network(f"{address}/64", strict=False))
