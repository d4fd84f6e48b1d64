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


def revision(text: str) -> Revision:
    return read_documents(parse("p.yaml", text.encode()))


def inventory(text: str = HOSTS) -> Inventory:
    return read_inventory("hosts.yaml", parse("hosts.yaml", text.encode()))


def compiled(
    policy: str, hosts: str = HOSTS, numbers: Allocations | None = None, now: int = NOW
) -> Compiled:
    return compile_revision(revision(policy), inventory(hosts), numbers or Allocations(), now, ROOT)
