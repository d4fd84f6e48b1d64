# SPDX-License-Identifier: Apache-2.0
"""How often Python's collector looks for garbage in a controller.

A controller of ten thousand hosts holds millions of objects that stay, and each stream that comes
adds hundreds that stay as long as it does. At Python's pace, a look after every 700 of them, a
fifth of what a returning fleet costs was the looking (`python -m bench.fleet`). So it looks less
often, and not at all at what a whole fleet's policy is made of, which goes by counting references.
"""

from __future__ import annotations

import gc

YOUNG = 50_000
"""Objects more than were freed, after which the youngest are looked through: some megabytes."""
OLDER = 20
"""Looks at younger ones for each at older ones."""


def set_pace() -> None:
    """Once, when the process begins."""
    gc.set_threshold(YOUNG, OLDER, OLDER)


def settle() -> None:
    """What is there now stays: it is looked through once more, and then left alone."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
