# SPDX-License-Identifier: Apache-2.0
"""Being somebody else for a while: then refusals of access are the kernel's, also for root."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

NOBODY = 65534


@contextlib.contextmanager
def somebody() -> Iterator[None]:
    """Not root, for as long as it lasts. What is to be imported must have been."""
    if os.geteuid() == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(os.getuid())
