# SPDX-License-Identifier: Apache-2.0
"""Errors that say nothing of what was asked about: we lacked descriptors or memory to ask.

What cannot be opened for such a reason may well be there, so it is never taken for gone: it is
asked about again later.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

_SCARCE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR})


def is_scarcity(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno in _SCARCE


@contextlib.contextmanager
def vanishing() -> Iterator[None]:
    """Processes and sockets end while we look, and that is no error; that we lack descriptors is
    one."""
    try:
        yield
    except OSError as error:
        if is_scarcity(error):
            raise
