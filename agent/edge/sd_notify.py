# SPDX-License-Identifier: Apache-2.0
"""Tells the service manager how we are (sd_notify(3)); says nothing where there is none."""

from __future__ import annotations

import os
import socket

from agent.core.commands import Command, FeedWatchdog, NotifyReady, NotifyStatus


def carry_out(command: Command) -> None:
    match command:
        case NotifyReady():
            notify("READY=1")
        case NotifyStatus():
            notify(f"STATUS={command.text}")
        case FeedWatchdog():
            notify("WATCHDOG=1")
        case _:
            raise AssertionError(f"Unexpected command: {command}")


def notify(*lines: str) -> None:
    """Send assignments such as READY=1. Never raises: it is news, not work."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.setblocking(False)
            out.sendto("\n".join(lines).encode(), address)
    except OSError:
        return
