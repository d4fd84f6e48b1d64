# SPDX-License-Identifier: Apache-2.0
"""A fleet as rows, of any size: each host runs one of many workloads, each rule is for two of them.

As in a fleet of services: hosts of one service share their labels, and a rule concerns few of all.
"""

from __future__ import annotations

import ipaddress
import random

from controller.allocations import Allocations
from controller.records import (
    DocumentRow,
    FleetPart,
    FleetRows,
    FleetSettings,
    Head,
    HostRow,
    Seen,
)

NOW = 1_800_000_000
HOSTS_PER_SERVICE = 10


def host(number: int) -> HostRow:
    address = ipaddress.IPv4Address("10.0.0.0") + number
    return HostRow(
        name=f"h{number}",
        number=number,
        labels={"service": f"s{number // HOSTS_PER_SERVICE}"},
        addresses=(address,),
        networks=(),
        fixed=False,
        tags=True,
        nat=False,
        lost=False,
        revoked=False,
        record_serial=1,
        record_at=NOW,
        enrolled_at=NOW,
        enrolled_by="bench",
        certificate_expires=NOW + 86_400,
        seen=Seen(),
    )


def workload(number: int) -> DocumentRow:
    text = (
        f"kind: Workload\nname: w{number}\nsegment: seg{number % 20}\n"
        f"match: [{{unit: w{number}.service, host: {{service: s{number}}}}}]\n"
    )
    return DocumentRow("Workload", f"w{number}", text, "bench.yaml", 1, 1)


def segment(number: int) -> DocumentRow:
    text = f"kind: Segment\nname: seg{number}\nmode: enforce\n"
    return DocumentRow("Segment", f"seg{number}", text, "bench.yaml", 1, 1)


def rule(number: int, pair: tuple[int, int], port: int) -> DocumentRow:
    text = (
        f"kind: Allow\nname: r{number}\nfrom: {{workload: w{pair[0]}}}\n"
        f"to: {{workload: w{pair[1]}}}\nports: [tcp/{port}]\n"
    )
    return DocumentRow("Allow", f"r{number}", text, "bench.yaml", 1, 1)


def _pair(number: int, services: int) -> tuple[int, int]:
    """The same each time, and spread."""
    chosen = random.Random(number)
    return chosen.randrange(services), chosen.randrange(services)


def numbers(services: int, rules: int) -> Allocations:
    keys = (f"Allow/r{n}/{way}" for n in range(rules) for way in ("ingress", "egress"))
    return Allocations(
        revision=1,
        workloads={f"w{n}": 256 + n for n in range(services)},
        rules={key: 1 + n for n, key in enumerate(keys)},
    )


def make(hosts: int, rules: int) -> FleetRows:
    services = hosts // HOSTS_PER_SERVICE + 1
    documents = [segment(n) for n in range(20)] + [workload(n) for n in range(services)]
    documents += [rule(n, _pair(n, services), 1000 + n % 60_000) for n in range(rules)]
    return FleetRows(
        head=Head(1, 1, 1),
        at=NOW,
        trust_domain="bench.example",
        settings=FleetSettings(),
        hosts=[host(number) for number in range(1, hosts + 1)],
        documents=documents,
        allocations=numbers(services, rules),
        quarantines=(),
    )


def changed(rows: FleetRows, number: int) -> FleetPart:
    """One rule has another port."""
    services = len(rows.allocations.workloads)
    row = rule(number, _pair(number, services), 62_000 + number)
    return FleetPart(
        head=Head(1, 2 + number, 2 + number),
        at=rows.at + 1 + number,
        everything=False,
        settings=rows.settings,
        hosts={},
        documents={("Allow", row.name): row},
        allocations=rows.allocations,
        quarantines=(),
    )
