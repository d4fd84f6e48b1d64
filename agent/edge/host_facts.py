# SPDX-License-Identifier: Apache-2.0
"""What a host says of itself when it joins. Believed by nobody; for people and inventories."""

from __future__ import annotations

import ipaddress
import os
import platform
from pathlib import Path

import psutil

from agent.core.model import IPAddress
from agent.edge import interfaces
from agent.pb import enrolment_pb2 as pb
from agent.version import VERSION

MAX_TEXT = 64
MAX_ADDRESSES = 64
_OS_RELEASE = Path("/etc/os-release")
_MACHINE_ID = Path("/etc/machine-id")
_MACHINE_ID_BYTES = 16
_IPV6 = Path("/proc/self/net/if_inet6")
_TENTATIVE_OR_DUPLICATE = 0x40 | 0x08
"""IFA_F_TENTATIVE and IFA_F_DADFAILED (include/uapi/linux/if_addr.h)."""


def host_facts() -> pb.HostFacts:
    return pb.HostFacts(
        agent_version=VERSION,
        kernel=kernel(),
        os=_short(_pretty_name()),
        architecture=_short(platform.machine()),
        machine_id=_machine_id(),
        addresses=addresses(),
    )


def kernel() -> str:
    return _short(os.uname().release)


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
    """Those that others may reach this host by, packed; of this network namespace alone. Raises
    OSError."""
    inner = interfaces.inner_bridges()
    found = {
        address.packed
        for name, held in psutil.net_if_addrs().items()
        if name not in inner
        for one in held
        if (address := _address(one.address)) is not None and _is_reached(address)
    }
    return sorted(found - _not_ours(), key=lambda packed: (len(packed), packed))[:MAX_ADDRESSES]


def _address(text: str) -> IPAddress | None:
    """None: of the link layer."""
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def _is_reached(address: IPAddress) -> bool:
    return not (
        address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
    )


def _not_ours() -> set[bytes]:
    """Addresses of IPv6 of which it is not known yet that no other machine on the link has them, or
    of which it is known that one has (RFC 4862, 5.4)."""
    try:
        lines = [line.split() for line in _IPV6.read_text().splitlines()]
    except OSError:
        return set()
    return {bytes.fromhex(line[0]) for line in lines if int(line[4], 16) & _TENTATIVE_OR_DUPLICATE}
