# SPDX-License-Identifier: Apache-2.0
"""What the agent asks of the kernel's scheduler.

A process waits for its identity until the agent's loop has run. Where another process just spins
on the core that the loop is woken on, the loop would get that core at the next tick only, up to
4 ms later, and the process with it. A thread that asks for a short slice may run at once (Linux
6.12 and newer; older ones take the wish and do nothing with it). It gets no more of the processor
by it, needs no privilege, and threads and processes that come of it do not inherit it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform

SLICE_NS = 100_000
"""The shortest that the kernel grants (kernel/sched/syscalls.c, __setparam_fair); reading a
process's facts and writing its identity takes about as long."""
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
_SCHED_OTHER = 0
RESET_ON_FORK = 0x01
_libc = ctypes.CDLL(None, use_errno=True)


class SchedAttr(ctypes.Structure):
    """struct sched_attr, include/uapi/linux/sched/types.h, in its first version."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    )


def ask_for_short_turns() -> None:
    """For the calling thread, unless its policy is another than the ordinary one.

    Raises OSError with a sentence.
    """
    if os.sched_getscheduler(0) != _SCHED_OTHER:
        return  # an operator chose it
    number = _SCHED_SETATTR.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"sched_setattr has no known number on {platform.machine()}")
    wish = SchedAttr(
        size=ctypes.sizeof(SchedAttr),
        policy=_SCHED_OTHER,
        flags=RESET_ON_FORK,
        nice=os.getpriority(os.PRIO_PROCESS, 0),
        runtime=SLICE_NS,
    )
    if _libc.syscall(number, 0, ctypes.byref(wish), 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"sched_setattr: {os.strerror(code)}")
