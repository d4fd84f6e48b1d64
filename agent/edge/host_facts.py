# SPDX-License-Identifier: Apache-2.0
"""What a host says of itself when it joins. Believed by nobody; for people and inventories."""

from __future__ import annotations

import ipaddress
import os
import platform
from pathlib import Path

import psutil

from agent.pb import enrolment_pb2 as pb
from agent.version import VERSION

MAX_TEXT = 64
MAX_ADDRESSES = 64
_OS_RELEASE = Path("/etc/os-release")
_MACHINE_ID = Path("/etc/machine-id")
_MACHINE_ID_BYTES = 16


def host_facts() -> pb.HostFacts:
    return pb.HostFacts(
        agent_version=VERSION,
        kernel=_short(os.uname().release),
        os=_short(_pretty_name()),
        architecture=_short(platform.machine()),
        machine_id=_machine_id(),
        addresses=addresses(),
    )


def _short(text: str) -> str:
    return text.encode()[:MAX_TEXT].decode(errors="ignore")


def _pretty_name() -> str:
    try:
        lines = _OS_RELEASE.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    found = (line.partition("=")[2] for line in lines if line.startswith("PRETTY_NAME="))
    return next(found, "").strip("\"'")


def _machine_id() -> bytes:
    try:
        found = bytes.fromhex(_MACHINE_ID.read_text().strip())
    except (OSError, ValueError):
        return b""
    return found if len(found) == _MACHINE_ID_BYTES else b""


def addresses() -> list[bytes]:
    """Those that others may reach this host by, packed."""
    found = []
    for interface in psutil.net_if_addrs().values():
        for one in interface:
            try:
                address = ipaddress.ip_address(one.address.partition("%")[0])
            except ValueError:
                continue  # of the link layer
            odd = (
                address.is_loopback
                or address.is_link_local
                or address.is_multicast
                or address.is_unspecified
            )
            if not odd:
                found.append(address.packed)
    return sorted(set(found))[:MAX_ADDRESSES]
