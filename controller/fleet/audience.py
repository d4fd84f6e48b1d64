# SPDX-License-Identifier: Apache-2.0
"""The name of those who share one policy, from all that the compiler tells hosts apart by."""

from __future__ import annotations

import hashlib

from controller.records import HostRow, Labels

AUDIENCE_BYTES = 16
_CONTEXT = b"cordon audience v1\n"


def audience_of(host: HostRow, quarantined: bool) -> bytes:
    """16 bytes; the same for all hosts with these labels and this mark."""
    return audience_of_labels(host.labels, quarantined)


def audience_of_labels(labels: Labels, quarantined: bool) -> bytes:
    total = hashlib.sha256(_CONTEXT + bytes([quarantined]))
    for text in (text for pair in sorted(labels.items()) for text in pair):
        data = text.encode()
        total.update(len(data).to_bytes(4, "big") + data)  # so that no two pairs run together
    return total.digest()[:AUDIENCE_BYTES]
