# SPDX-License-Identifier: Apache-2.0
"""What a host lacks, by what it says that it holds and what there is for it. Pure."""

from __future__ import annotations

from controller.board import Board
from controller.keyserver import HeldKeys
from controller.releases import Release
from controller.talk import HeldPolicy, Hello


def held_of(release: Release) -> HeldPolicy:
    """What a host holds that has acknowledged it."""
    head = release.head
    order = head.store_epoch, head.version
    return HeldPolicy(*order, release.digest, release.expires, release.audience)


def held_keys(board: Board, held: HeldPolicy | None, said: HeldKeys) -> HeldKeys:
    """Which peers a host has keys for follows from the policy that it holds."""
    if held is None or not said.serial:
        return HeldKeys(said.serial, 0, frozenset() if not said.serial else None)
    known = board.known(held.digest)
    if known is None or known.epoch_seconds != board.settings.epoch_seconds:
        return HeldKeys(said.serial, 0, None)
    return HeldKeys(said.serial, said.last_epoch, known.peers)


def wants(board: Board, held: HeldPolicy | None, target: Release) -> bool:
    """Whether the host should get this release; the same content only for another audience, if its
    time is at its half, or if it ends earlier than was said."""
    if held is None or held.digest != target.digest:
        return True
    if held.store_epoch != target.head.store_epoch or not held.is_of(target.audience):
        return True
    if target.until is not None and held.expires > target.until:
        return True
    half = board.settings.validity_seconds // 2
    return target.expires > held.expires and board.unix >= held.expires - half


def store_behind(hello: Hello, board: Board) -> str:
    """The sentence if the agent holds what this store never made, else nothing."""
    head, record = board.head, board.record(hello.name)
    for held in (hello.policy, hello.unconfirmed):
        if held is None:
            continue
        newer = record is not None and hello.record_serial > record.serial
        newer &= held.store_epoch == head.store_epoch
        if newer or held.order > (head.store_epoch, head.version):
            return (
                f"host {hello.name} holds version {held.version} of epoch {held.store_epoch}, this "
                f"store is at version {head.version} of epoch {head.store_epoch}: it was restored "
                "from a backup, or is another one; see cordon-controller store raise-epoch"
            )
    return ""
