# SPDX-License-Identifier: Apache-2.0
"""What fails inside a service for a reason of ours, in the log.

grpc tells the caller that something unexpected was raised, and the operator nothing: its loggers
have a handler that drops everything. So they get one that speaks as the rest of the log does.
"""

from __future__ import annotations

import logging
import traceback

from agent.edge import logs


class _ToOurLog(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else "warning"
        error = record.exc_info[1] if record.exc_info else None
        logs.write(level, "a call failed inside", [("what", record.getMessage()), *_raised(error)])


_HANDLER = _ToOurLog(logging.WARNING)


def write(message: str, error: BaseException) -> None:
    """Of what was raised where no call waits for it."""
    logs.write("error", message, _raised(error))


def _raised(error: BaseException | None) -> list[logs.Field]:
    """The exception, and where it was raised."""
    if error is None:
        return []
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-1:]]
    return [("reason", repr(error)), *(("at", place) for place in places)]


def tell() -> None:
    """From now on; once is enough, and more do no harm."""
    logging.getLogger("grpc").addHandler(_HANDLER)
