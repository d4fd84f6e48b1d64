# SPDX-License-Identifier: Apache-2.0
"""The inventory, `hosts.yaml`: which hosts there are, where they are reached, what holds for all.

Labels are given here and never claimed by a host. How hosts enrol is another matter; offline, this
file is the truth.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from agent.core.model import IPAddress, Settings
from agent.core.soundness import MAX_HASH_LIMIT_MIB
from controller.fields import (
    Address,
    Labels,
    Name,
    Strict,
    Switch,
    TrustDomain,
    duration,
    duration_text,
)
from controller.problems import InputRefused, Problem, Source
from controller.validation import validate
from controller.yamlfile import YamlDocument

MAX_HOSTS = 100_000
MAX_ADDRESSES = 64
EPOCH_SLOTS = 16
"""A tag names its key epoch modulo 16, and the kernel has as many slots per peer."""

_MINUTE, _DAY = 60_000, 86_400_000


class SettingsFields(Strict):
    """What holds for every host. Durations are milliseconds once read."""

    epoch: duration(10_000, 30 * _DAY) = _DAY  # type: ignore[valid-type]
    validity: duration(10_000, 366 * _DAY) = 14 * _DAY  # type: ignore[valid-type]
    hold_limit: duration(10, _MINUTE) = 2000  # type: ignore[valid-type]
    refusal_events_per_second: Annotated[int, Field(ge=1, le=100_000)] = 200
    hash_limit_mib: Annotated[int, Field(ge=0, le=MAX_HASH_LIMIT_MIB)] = 256
    adoption_grace: duration(1000, 30 * _DAY) = 3_600_000  # type: ignore[valid-type]


class Host(Strict):
    """tags: off where the path strips TCP options. nat: addresses are rewritten on the path."""

    name: Name
    addresses: Annotated[list[Address], Field(min_length=1, max_length=MAX_ADDRESSES)]
    labels: Labels = Field(default_factory=dict)
    tags: Switch = True
    nat: Switch = False

    def has(self, labels: dict[str, str]) -> bool:
        return labels.items() <= self.labels.items()


class Inventory(Strict):
    """The whole file."""

    trust_domain: TrustDomain
    settings: SettingsFields = Field(default_factory=SettingsFields)
    hosts: Annotated[list[Host], Field(min_length=1, max_length=MAX_HOSTS)]

    @property
    def datapath(self) -> Settings:
        return Settings(
            epoch_seconds=self.settings.epoch // 1000,
            hold_limit_ms=self.settings.hold_limit,
            refusal_events_per_second=self.settings.refusal_events_per_second,
            hash_limit_mib=self.settings.hash_limit_mib,
            adoption_grace_seconds=self.settings.adoption_grace // 1000,
        )

    @property
    def validity_seconds(self) -> int:
        return int(self.settings.validity // 1000)


def read_inventory(file: str, documents: list[YamlDocument]) -> Inventory:
    """Check the inventory's one document. Raises InputRefused with all that is wrong."""
    if len(documents) != 1:
        message = f"expected one document with trust_domain and hosts, got {len(documents)}"
        raise InputRefused([Problem(Source(file), "", message)])
    inventory, problems = validate(Inventory, documents[0])
    if inventory is None:
        raise InputRefused(problems)
    problems = [*_duplicates(inventory, documents[0]), *_too_many_epochs(inventory, documents[0])]
    if problems:
        raise InputRefused(problems)
    return inventory


def _duplicates(inventory: Inventory, document: YamlDocument) -> list[Problem]:
    names: dict[str, int] = {}
    owners: dict[IPAddress, str] = {}
    problems: list[Problem] = []
    for index, host in enumerate(inventory.hosts):
        place = ("hosts", index, "name")
        first = names.setdefault(host.name, index)
        if first != index:
            line = document.source(("hosts", first, "name")).line
            message = f"expected a new name, but line {line} has a host {host.name} already"
            problems.append(Problem(document.source(place), f"hosts[{index}].name", message))
        for number, address in enumerate(host.addresses):
            owner = owners.setdefault(address, host.name)
            if owner != host.name or address in host.addresses[:number]:
                field, source = document.place(("hosts", index, "addresses", number))
                message = f"expected an address of this host alone, but {owner} has {address} too"
                problems.append(Problem(source, field, message))
    return problems


def _too_many_epochs(inventory: Inventory, document: YamlDocument) -> list[Problem]:
    """The previous epoch, and as many as the validity can touch, must fit the kernel's slots."""
    epoch, validity = inventory.settings.epoch, inventory.settings.validity
    if -(-validity // epoch) + 2 <= EPOCH_SLOTS:
        return []
    field, source = document.place(("settings", "validity"))
    longest = duration_text((EPOCH_SLOTS - 2) * epoch)
    second = 1000
    shortest = duration_text(-(-validity // ((EPOCH_SLOTS - 2) * second)) * second)
    message = (
        f"expected at most {EPOCH_SLOTS - 2} key epochs, got {duration_text(validity)} with an "
        f"epoch of {duration_text(epoch)}: make epoch at least {shortest} "
        f"or validity at most {longest}"
    )
    return [Problem(source, field, message)]
