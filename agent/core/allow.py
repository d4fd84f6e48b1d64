# SPDX-License-Identifier: Apache-2.0
"""The Allow document that is missing, in the words of the policy language. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

Document = Mapping[str, object]
MAX_NAME = 63


def allow_document(source: Document, target: Document, port: str) -> Document:
    """source, target: parties as the language selects them, `{"workload": "web"}`."""
    return {
        "kind": "Allow",
        "name": _name(source, target, port),
        "from": dict(source),
        "to": dict(target),
        "ports": [port],
    }


def party(name: str) -> Document | None:
    """How the language selects an identity by what policies call it: "segment/workload", a network,
    "world" or "host". None where an Allow by this name would be the wrong answer."""
    reserved: dict[str, Document] = {"host": {"segment": "default"}, "world": {"world": True}}
    if name in reserved:
        return reserved[name]
    if "/" not in name:
        return None
    try:
        return {"cidr": str(ipaddress.ip_network(name))}
    except ValueError:  # names of workloads have no dot and no colon
        return {"workload": name.rpartition("/")[2]}


def _name(source: Document, target: Document, port: str) -> str:
    """A name that the language takes, such as `web-to-db-tcp-6379`."""
    parts = [str(v) if v is not True else k for side in (source, target) for k, v in side.items()]
    text = re.sub(r"[^a-z0-9]+", "-", f"{parts[0]}-to-{parts[1]}-{port}".lower())
    return text[:MAX_NAME].strip("-")
