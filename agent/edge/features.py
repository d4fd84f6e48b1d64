# SPDX-License-Identifier: Apache-2.0
"""Which features of the kernel the datapath stands on, what each is for, and whether it is there.

Nothing is concluded from a version: the kernel is asked by trying, one tiny program or map for each
feature, which libbpf loads and throws away; nothing is attached. The loader asks before it compiles
and `doctor` asks when told to, from this one table, so both say the same. A test holds it against
the helpers that the compiled programs really call.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from agent.edge import libbpf
from agent.edge.hooks import HOOKS, ProgramType
from agent.edge.maps import MapKind


class Helper(IntEnum):
    """enum bpf_func_id, include/uapi/linux/bpf.h."""

    map_lookup_elem = 1
    map_update_elem = 2
    map_delete_elem = 3
    ktime_get_ns = 5
    get_current_pid_tgid = 14
    get_current_uid_gid = 15
    skb_load_bytes = 26
    setsockopt = 49
    getsockopt = 57
    sock_ops_cb_flags_set = 59
    get_current_cgroup_id = 80
    sk_fullsock = 95
    sk_storage_get = 107
    probe_read_kernel = 113
    get_netns_cookie = 122
    get_current_ancestor_cgroup_id = 123
    ringbuf_reserve = 131
    ringbuf_submit = 132
    store_hdr_opt = 143
    reserve_hdr_opt = 144
    ktime_get_coarse_ns = 160


_MAPS = (Helper.map_lookup_elem, Helper.map_update_elem)
_WHO = (Helper.get_current_pid_tgid, Helper.get_current_uid_gid, Helper.get_current_cgroup_id)
_EVENTS = (Helper.ringbuf_reserve, Helper.ringbuf_submit)
_TIME = (Helper.ktime_get_coarse_ns,)
_CLOCKS = (*_TIME, Helper.ktime_get_ns)
_SOCKET = (Helper.sk_storage_get, Helper.get_netns_cookie)

HELPERS: dict[ProgramType, tuple[Helper, ...]] = {
    ProgramType.RAW_TRACEPOINT: (
        *_MAPS,
        Helper.map_delete_elem,
        Helper.ktime_get_ns,
        *_WHO,
        Helper.probe_read_kernel,
        Helper.get_current_ancestor_cgroup_id,
        *_EVENTS,
    ),
    ProgramType.CGROUP_SOCK: (*_MAPS, *_WHO, *_SOCKET, *_EVENTS, *_CLOCKS),
    ProgramType.CGROUP_SOCK_ADDR: (*_MAPS, *_WHO, *_SOCKET, *_EVENTS, *_CLOCKS),
    ProgramType.CGROUP_SKB: (
        *_MAPS,
        Helper.skb_load_bytes,
        Helper.sk_fullsock,
        Helper.sk_storage_get,
        *_EVENTS,
        *_CLOCKS,
    ),
    ProgramType.SOCK_OPS: (
        Helper.map_lookup_elem,
        Helper.map_delete_elem,
        Helper.sock_ops_cb_flags_set,
        Helper.getsockopt,
        Helper.setsockopt,
        *_SOCKET,
        Helper.store_hdr_opt,
        Helper.reserve_hdr_opt,
        *_EVENTS,
        *_TIME,
    ),
}
"""What the programs of each type call."""

_POLICY = "policy could not be put into the kernel"
MAPS: dict[MapKind, str] = {
    MapKind.HASH: _POLICY,
    MapKind.ARRAY: "programs could not be told what to do",
    MapKind.ARRAY_OF_MAPS: "policy could not be switched as one step",
    MapKind.LPM_TRIE: "networks and port ranges could not be judged",
    MapKind.LRU_HASH: "handshakes could not be remembered from the SYN to accept",
    MapKind.PERCPU_ARRAY: "nothing could be counted",
    MapKind.PERCPU_HASH: "connections could not be counted by rule",
    MapKind.SK_STORAGE: "sockets would have no identity",
    MapKind.RINGBUF: "the agent would not be told of new programs",
}
_HELPER_LOST = {
    Helper.store_hdr_opt: "no connection would carry an identity",
    Helper.reserve_hdr_opt: "no connection would carry an identity",
    Helper.sk_storage_get: "sockets would have no identity",
    Helper.get_netns_cookie: "connections of different network namespaces could be confused",
    Helper.getsockopt: "connections that are held would end early",
    Helper.setsockopt: "connections that are held would end early",
    Helper.probe_read_kernel: "executables could not be told apart",
    Helper.get_current_ancestor_cgroup_id: "processes of other instances could not be left alone",
}


@dataclass(frozen=True, slots=True)
class Lacking:
    """A feature that is not there. lost: what Cordon could not do without it."""

    feature: str
    lost: str

    def __str__(self) -> str:
        return f"{self.feature}, without which {self.lost}"


def count() -> int:
    """How many features are tried."""
    return len(HELPERS) + len(MAPS) + sum(map(len, HELPERS.values()))


def lacking() -> list[Lacking]:
    """Those that this kernel does not have. Raises BpfError where it may not be asked."""
    return [*_lacking_programs(), *_lacking_maps()]


def _lacking_programs() -> Iterator[Lacking]:
    for kind, helpers in HELPERS.items():
        if not _probe("prog_type", kind.name, ctypes.c_int(kind)):
            yield Lacking(f"programs of type {kind.name}", _lost_of_type(kind))
            continue
        for helper in helpers:
            if not _probe("helper", helper.name, ctypes.c_int(kind), ctypes.c_int(helper)):
                lost = _HELPER_LOST.get(helper) or _lost_of_type(kind)
                yield Lacking(f"the helper bpf_{helper.name} in programs of type {kind.name}", lost)


def _lacking_maps() -> Iterator[Lacking]:
    for kind, lost in MAPS.items():
        if not _probe("map_type", kind.name, ctypes.c_int(kind)):
            yield Lacking(f"maps of type {kind.name}", lost)


def _probe(what: str, name: str, *numbers: ctypes.c_int) -> bool:
    """What libbpf finds by trying: 1 or 0; a negative errno where it could not even try."""
    answer = libbpf.call(f"libbpf_probe_bpf_{what}", *numbers, None, what=f"asking for {name}")
    return answer == 1


def _lost_of_type(kind: ProgramType) -> str:
    return next(hook.lost for hook in HOOKS if hook.program_type is kind)
