# SPDX-License-Identifier: Apache-2.0
"""The addresses that hosts say they have, until they are theirs or it is said why not. Pure.

A wish stays for as long as its stream: what is refused today because another host has it, or the
host's networks do not cover it, may be right after the next change of the fleet, and the agent does
not say it again. What has been looked at is not looked at again while nothing of it is different.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from agent.core.model import IPAddress
from controller import addressing
from controller.records import HostRow


@dataclass(frozen=True, slots=True)
class Found:
    """addresses: what the host should have; None: what it has. refused: sentences, None: as told
    before."""

    name: str
    addresses: tuple[IPAddress, ...] | None
    refused: tuple[str, ...] | None


@dataclass(slots=True)
class _Wish:
    """seen: what the last look went by. refused: what it found."""

    host: int
    addresses: Sequence[IPAddress]
    seen: object = None
    refused: tuple[str, ...] = ()


class Wishes:
    """Of the hosts whose streams are here."""

    def __init__(self) -> None:
        self._wishes: dict[str, _Wish] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._wishes

    def names(self) -> list[str]:
        return list(self._wishes)

    def say(self, name: str, host: int, addresses: Sequence[IPAddress]) -> None:
        """host: its number, for a name may be another host tomorrow."""
        before = self._wishes.get(name)
        wish = self._wishes[name] = _Wish(host, addresses)
        if before is not None and before.host == host:
            wish.refused = before.refused

    def forget(self, name: str) -> None:
        self._wishes.pop(name, None)

    def again(self, name: str) -> None:
        """What was found could not be done: the next look finds it again."""
        if name in self._wishes:
            self._wishes[name].seen = None

    def look(self, row: HostRow, taken: Mapping[IPAddress, str]) -> Found | None:
        """None: nothing is new. row: the host, as it is. taken: address -> name of who has it."""
        wish = self._wishes.get(row.name)
        if wish is None or wish.host != row.number or row.revoked:
            return None
        seen = (row, tuple(taken.get(address) for address in wish.addresses))
        if seen == wish.seen:
            return None
        wish.seen = seen
        claimed = addressing.claim(row, wish.addresses, taken)
        told = claimed.refused == wish.refused
        wish.refused = claimed.refused
        same = claimed.addresses == row.addresses
        if same and told:
            return None
        return Found(
            row.name, None if same else claimed.addresses, None if told else claimed.refused
        )


def holders(hosts: Iterable[tuple[str, Sequence[IPAddress]]]) -> dict[IPAddress, str]:
    """Address -> name of the host that has it."""
    return {address: name for name, addresses in hosts for address in addresses}
