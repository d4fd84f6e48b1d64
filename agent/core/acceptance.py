# SPDX-License-Identifier: Apache-2.0
"""Whether what a controller sent may be taken, and what it makes of what is held. Pure.

Signatures are good already. Each function returns the new thing or raises Refused, whose reason
goes into the NACK as it is; the rules are those of proto/cordon/v1/policy.proto.
"""

from __future__ import annotations

from agent.core import content
from agent.core.content import DeltaRefused, Entries, Removals
from agent.core.held import NackReason, Record, Release, Stand
from agent.core.keyring import KeyRing, KeyUpdate
from agent.core.snapshot import CLOCK_TOLERANCE_SECONDS

Body = Entries | tuple[bytes, Removals, Entries] | None
"""The whole; or a delta as (digest of its base, removals, upserts); or None: as it was."""


class Refused(ValueError):
    """The text is the NACK's sentence."""

    def __init__(self, reason: NackReason, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


def record(came: Record, host: int, held: Record | None) -> Record:
    if came.host != host:
        raise Refused(
            NackReason.AUDIENCE, f"the record is of host {came.host}, this is host {host}"
        )
    if held is not None and came.order <= held.order:
        raise Refused(
            NackReason.OLDER, f"the record's serial {came.serial} is not above {held.serial} held"
        )
    return came


def keys(came: KeyUpdate, host: int, held: KeyRing) -> KeyRing:
    if came.host != host:
        raise Refused(NackReason.AUDIENCE, f"the keys are of host {came.host}, this is host {host}")
    if (came.store_epoch, came.serial) <= held.order:
        raise Refused(
            NackReason.OLDER, f"the keys' serial {came.serial} is not above {held.serial} held"
        )
    return held.add(came)


def release(came: Release, own: Record | None, floor: Release | None, now: float) -> None:
    """floor: the newest that was ever confirmed here. now: unix seconds."""
    if own is None or came.audience != own.audience:
        raise Refused(NackReason.AUDIENCE, "the release is not for the audience of this host")
    if floor is not None and came.order < floor.order:
        raise Refused(NackReason.OLDER, _older(came, floor))
    if came.expires <= now:
        raise Refused(NackReason.TIME, f"the release expired at unix second {came.expires}")
    if came.issued > now + CLOCK_TOLERANCE_SECONDS:
        raise Refused(
            NackReason.TIME, f"the release was issued at unix second {came.issued}, in the future"
        )


def _older(came: Release, floor: Release) -> str:
    return (
        f"version {came.version} of epoch {came.store_epoch} is older than version "
        f"{floor.version} of epoch {floor.store_epoch}, which was confirmed"
    )


def entries(body: Body, base: Stand | None, digest: bytes) -> Entries:
    """The content that a release of this digest speaks of."""
    found = _resulting(body, base)
    if content.digest(found) != digest:
        raise Refused(NackReason.DELTA, "the content has not the digest that was signed")
    return found


def _resulting(body: Body, base: Stand | None) -> Entries:
    if body is not None and not isinstance(body, tuple):
        return body
    if base is None:
        raise Refused(NackReason.DELTA, "it builds on what is held, and nothing is")
    if body is None:
        return base.entries
    base_digest, removals, upserts = body
    if base_digest != base.release.digest:
        raise Refused(NackReason.DELTA, "the delta builds on other content than is held")
    try:
        return content.apply(base.entries, removals, upserts)
    except DeltaRefused as error:
        raise Refused(NackReason.DELTA, str(error)) from None
