# SPDX-License-Identifier: Apache-2.0
"""Policies and inventories as text, read as the tools read them."""

from __future__ import annotations

from controller.allocations import Allocations
from controller.compiler import Compiled, compile_revision
from controller.documents import Revision, read_documents
from controller.inventory import Inventory, read_inventory
from controller.yamlfile import parse

NOW = 1_800_000_000
ROOT = bytes(range(32))

HOSTS = """\
trust_domain: example.org
hosts:
  - {name: a, addresses: [192.0.2.1, "fd00::1"], labels: {role: web}}
  - {name: b, addresses: [192.0.2.2, "fd00::2"], labels: {role: db}}
  - {name: c, addresses: [192.0.2.3, "fd00::3"], labels: {role: other}}
"""

BASE = """\
kind: Segment
name: front
mode: enforce
---
kind: Segment
name: data
mode: enforce
---
kind: Segment
name: lone
mode: audit
---
kind: Workload
name: web
segment: front
labels: {app: shop}
match: [{unit: nginx.service, host: {role: web}}]
---
kind: Workload
name: db
segment: data
labels: {app: shop}
match: [{unit: redis.service, host: {role: db}}]
---
kind: Workload
name: hermit
segment: lone
match: [{unit: hermit.service, host: {role: other}}]
---
"""
WEB_TO_DB = """\
kind: Allow
name: web-to-db
from: {workload: web}
to: {workload: db}
ports: [tcp/6379]
---
"""
POLICIES = [
    WEB_TO_DB,
    "kind: Deny\nname: d\nfrom: {any: true}\nto: {segment: data}\nports: [tcp/22, icmp/*]\n---\n",
    "kind: Allow\nname: w\nfrom: {segment: front}\nto: [{world: true}, {cidr: 10.0.0.0/8}]\n"
    "ports: [tcp/443]\n---\n",
    "kind: Allow\nname: n\nfrom: {cidr: 10.1.0.0/16}\nto: {labels: {app: shop}}\n"
    "ports: [tcp/80-90]\n---\n",
    "kind: Allow\nname: l\nfrom: {segment: default}\nto: {workload: db}\nports: [any]\n---\n",
    "kind: Lifeline\nname: ssh\ndirection: in\npeer: {cidr: 10.1.2.0/24}\nports: [tcp/22]\n---\n",
    "kind: Allow\nname: u\nfrom: {unproven: true}\nto: {workload: hermit}\nports: [udp/53]\n---\n",
]
"""Over BASE: every kind of rule, peer and port."""


def revision(text: str) -> Revision:
    return read_documents(parse("p.yaml", text.encode()))


def inventory(text: str = HOSTS) -> Inventory:
    return read_inventory("hosts.yaml", parse("hosts.yaml", text.encode()))


def compiled(
    policy: str, hosts: str = HOSTS, numbers: Allocations | None = None, now: int = NOW
) -> Compiled:
    return compile_revision(revision(policy), inventory(hosts), numbers or Allocations(), now, ROOT)
