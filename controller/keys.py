# SPDX-License-Identifier: Apache-2.0
"""Keys for tags: from one root secret to what each host gets.

root -> secret of an epoch -> receive secret of a host -> key of a sender towards it. Only the root
is stored; the steps below the epoch are `agent.core.tag`'s, because agents walk them too.
"""

from __future__ import annotations

import hashlib
import hmac

from agent.core import tag
from agent.core.model import EpochKey

ROOT_BYTES = 32


def epoch_secret(root: bytes, epoch: int) -> bytes:
    """32 bytes. The label keeps it apart from any other use of the root."""
    assert len(root) == ROOT_BYTES, "the root secret has 32 bytes"
    message = b"cordon epoch" + epoch.to_bytes(8, "big")
    return hmac.new(root, message, hashlib.sha256).digest()


def epochs(now: int, expires: int, epoch_seconds: int) -> range:
    """The epochs that a snapshot needs: from the one before now to that of its expiry."""
    return range(max(now // epoch_seconds - 1, 1), expires // epoch_seconds + 1)


class KeyRing:
    """Derives each key once for one compile. Never printed."""

    __slots__ = ("_receive", "_secrets")

    def __init__(self, root: bytes, live: range) -> None:
        self._secrets = {epoch: epoch_secret(root, epoch) for epoch in live}
        self._receive: dict[int, tuple[EpochKey, ...]] = {}

    def receive_secrets(self, host: int) -> tuple[EpochKey, ...]:
        """R(host, epoch) for every epoch."""
        if host not in self._receive:
            self._receive[host] = tuple(
                EpochKey(epoch, tag.receive_secret(secret, host, epoch))
                for epoch, secret in self._secrets.items()
            )
        return self._receive[host]

    def pair_keys(
        self, sender: int, receiver: int, wanted: range | None = None
    ) -> tuple[EpochKey, ...]:
        """K(sender -> receiver, epoch) for every epoch, or for the wanted ones of them."""
        return tuple(
            EpochKey(secret.epoch, tag.pair_key(secret.key, sender))
            for secret in self.receive_secrets(receiver)
            if wanted is None or secret.epoch in wanted
        )
