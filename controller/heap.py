# SPDX-License-Identifier: Apache-2.0
"""How often Python's collector looks for garbage in a controller.

A controller of ten thousand hosts holds millions of objects that stay, and each stream that comes
adds hundreds that stay as long as it does. At Python's pace, a look after every 700 of them, a good
part of what a returning fleet cost was the looking (`python -m bench.fleet`). So it looks the less
often the larger the fleet is, and not at all at what the fleet's policy is made of, which goes by
counting references. Garbage that waits for a look is so bounded by the size of the fleet, too.
"""

from __future__ import annotations

import gc

LEAST = 700
"""Objects more than were freed, after which the youngest are looked through: Python's own."""
PER_HOST = 5


def settle(hosts: int) -> None:
    """What is there now stays: it is looked through once more, and then left alone."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(max(LEAST, PER_HOST * hosts))
