# SPDX-License-Identifier: Apache-2.0
"""The edges that touch bpf(2), against the real kernel: maps, rings, links, pins, types.

One long file, for its tests share one lab; another kernel (tests.vm) is tried by them first.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.edge import bpffs, btf, cgroups, libbpf, links, loader, sources
from agent.edge.compiler import LoadFailed
from agent.edge.hooks import HOOKS, ITERATED, Pins, ProgramType, attach, attached
from agent.edge.libbpf import BpfError
from agent.edge.links import Attachment, AttachType, LinkSet
from agent.edge.maps import MMAPABLE, NO_PREALLOC, BpfMap, MapFull, MapKind, mmap_array
from agent.edge.ringbuf import RingBuffer
from tests.lab import Lab, wait_until

CGROUP_SKB = 8
PASS = bytes.fromhex("b700000001000000") + bytes.fromhex("9500000000000000")
"""r0 = 1; exit"""


def number(value: int, size: int = 4) -> bytes:
    return value.to_bytes(size, "little")


@pytest.fixture
def hash_map() -> Iterator[BpfMap]:
    with BpfMap.create(MapKind.HASH, "test", 4, 8, 100) as made:
        yield made


def test_map_get_put_delete(hash_map: BpfMap) -> None:
    assert hash_map.get(number(1)) is None
    hash_map.put(number(1), number(10, 8))
    assert hash_map.get(number(1)) == number(10, 8)
    assert hash_map.delete(number(1))
    assert not hash_map.delete(number(1))


def test_batch_holds_what_singles_would(hash_map: BpfMap) -> None:
    entries = {number(i): number(i * i, 8) for i in range(100)}
    hash_map.put_batch(list(entries), list(entries.values()))
    assert dict(hash_map.items()) == entries
    assert set(hash_map.keys()) == set(entries)
    assert hash_map.clear() == 100
    assert dict(hash_map.items()) == {}


def test_full_map_is_an_answer_with_the_bound(hash_map: BpfMap) -> None:
    keys = [number(i) for i in range(101)]
    with pytest.raises(MapFull, match=r"test.*holds 100 entries"):
        hash_map.put_batch(keys, [bytes(8)] * 101)


def test_items_of_a_large_map_come_in_batches() -> None:
    with BpfMap.create(MapKind.HASH, "large", 4, 4, 20000) as large:
        keys = [number(i) for i in range(20000)]
        large.put_batch(keys, keys)
        assert dict(large.items()) == dict(zip(keys, keys, strict=True))


def test_trie_takes_a_batch_and_answers_the_longest_prefix() -> None:
    with BpfMap.create(MapKind.LPM_TRIE, "trie", 8, 4, 4, NO_PREALLOC) as trie:
        trie.put_batch(
            [number(8) + b"\x0a\0\0\0", number(16) + b"\x0a\1\0\0"], [number(1), number(2)]
        )
        assert trie.get(number(32) + b"\x0a\1\2\3") == number(2)
        assert trie.get(number(32) + b"\x0a\2\2\3") == number(1)


def test_percpu_values_are_split_by_cpu() -> None:
    with BpfMap.create(MapKind.PERCPU_ARRAY, "percpu", 4, 4, 2) as percpu:
        values = percpu.get_percpu(number(0))
        assert values == [bytes(4)] * libbpf.possible_cpus()
        assert len(dict(percpu.items_percpu())) == 2


def test_memory_of_an_array_is_the_maps() -> None:
    with BpfMap.create(MapKind.ARRAY, "mapped", 4, 16, 1, MMAPABLE) as array:
        memory = mmap_array(array)
        memory[8:16] = number(77, 8)
        assert array.get(number(0)) == bytes(8) + number(77, 8)
        memory.close()


def test_ring_reader_starts_empty() -> None:
    with BpfMap.create(MapKind.RINGBUF, "ring", 0, 0, 4096) as ring:
        seen: list[bytes] = []
        reader = RingBuffer(ring.fd, seen.append)
        assert reader.fileno() > 0
        assert reader.consume() == 0
        reader.close()
    assert seen == []


def test_missing_pin_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BpfError, match=r"opening the pinned map .*nothing.*No such file"):
        BpfMap.open_pinned(tmp_path / "nothing")


def test_verifier_refusal_carries_its_words() -> None:
    with pytest.raises(BpfError, match=r"(?s)loading the program bad.*R0"):
        libbpf.prog_load(CGROUP_SKB, bytes.fromhex("9500000000000000"), "bad", "GPL", 0)


def test_kernel_offsets_are_all_there_and_differ() -> None:
    offsets = btf.kernel_offsets()
    assert set(offsets) == {wanted.name for wanted in btf.WANTED}
    assert offsets["OFFSET_TASK_TGID"] == offsets["OFFSET_TASK_PID"] + 4
    assert offsets["OFFSET_INODE_CTIME_NSEC"] > offsets["OFFSET_INODE_CTIME_SEC"]


def test_missing_kernel_field_is_named_with_what_it_costs() -> None:
    library = libbpf.library()
    handle = ctypes.c_void_p(library.btf__load_vmlinux_btf())
    wanted = btf.Wanted("X", ("task_struct.no_such_field", "no_such_struct.x"), "all would be lost")
    with pytest.raises(btf.BtfError, match=r"task_struct.no_such_field.*without which all would"):
        btf._find(handle, wanted)
    library.btf__free(handle)


def test_bpffs_is_told_from_other_file_systems(lab: Lab, tmp_path: Path) -> None:
    assert bpffs.is_bpffs(lab.bpf)
    assert not bpffs.is_bpffs(tmp_path)
    assert not bpffs.is_bpffs(tmp_path / "missing")


def test_cgroup_id_is_the_kernels(lab: Lab) -> None:
    host = lab["a"]
    process = host.spawn(["/bin/sleep", "60"], "x.service")
    assert process.pid in set(cgroups.pids(host.cgroup))
    mount = cgroups.mount_point()
    assert (
        cgroups.level(host.unit_cgroup("x.service"), mount) == cgroups.level(host.cgroup, mount) + 2
    )
    with pytest.raises(cgroups.CgroupError, match="not below the cgroup v2 mount"):
        cgroups.level(Path("/tmp"), mount)


class LinkLab:
    """Two loaded programs and a cgroup to attach them to."""

    def __init__(self, lab: Lab) -> None:
        self.folder = lab["a"].pins
        self.cgroup = os.open(lab["a"].cgroup, os.O_RDONLY | os.O_DIRECTORY)
        self.old, self.new = (
            libbpf.prog_load(CGROUP_SKB, PASS, name, "GPL", 0) for name in ("old", "new")
        )
        self.set = LinkSet(self.folder, self.cgroup)

    def wanted(self, program: int, count: int = 3) -> list[Attachment]:
        return [
            Attachment(f"link{i}", program, AttachType.CGROUP_INET_INGRESS) for i in range(count)
        ]

    def running(self) -> list[int]:
        return links.prog_query_cgroup(self.cgroup, AttachType.CGROUP_INET_INGRESS)


@pytest.fixture
def link_lab(lab: Lab) -> Iterator[LinkLab]:
    made = LinkLab(lab)
    yield made
    for fd in (made.cgroup, made.old, made.new):
        os.close(fd)


GIVE_UP = bytes.fromhex("b700000001000000") + bytes.fromhex("9500000000000000")


def test_iterator_that_gives_up_is_an_error(lab: Lab) -> None:
    """As `cordon_listeners` does on a kernel that cannot mark listeners."""
    program = libbpf.prog_load(
        int(ProgramType.TRACING), GIVE_UP, "give_up", "GPL", int(AttachType.TRACE_ITER),
        btf.function_id(ITERATED),
    )  # fmt: skip
    try:
        assert lab["a"].puppet().listen(lab["a"].v4).ok
        with pytest.raises(BpfError) as caught:
            lab["a"].inside(lambda: links.run_iterator(program))
        assert caught.value.errno == errno.EAGAIN
    finally:
        os.close(program)


def test_links_are_made_swapped_and_removed(link_lab: LinkLab) -> None:
    old, new = links.program_id(link_lab.old), links.program_id(link_lab.new)
    link_lab.set.attach(link_lab.wanted(link_lab.old))
    assert link_lab.running() == [old] * 3
    assert all(pin.stat().st_mode & 0o777 == 0o600 for pin in link_lab.folder.iterdir())
    link_lab.set.attach(link_lab.wanted(link_lab.new))
    assert link_lab.running() == [new] * 3
    link_lab.set.detach(["link0", "link1", "link2"])
    # The kernel lets go of a link a moment after its last pin.
    wait_until(lambda: link_lab.running() == [], "no descriptor of ours keeps a link alive")


def test_failed_attach_leaves_nothing(link_lab: LinkLab) -> None:
    bad = Attachment("bad", -1, AttachType.CGROUP_INET_INGRESS)
    with pytest.raises(BpfError, match=r"attaching bad.*undone"):
        link_lab.set.attach([*link_lab.wanted(link_lab.old), bad])
    wait_until(lambda: link_lab.running() == [], "what was attached is detached again")
    assert list(link_lab.folder.iterdir()) == []


def test_failed_swap_leaves_the_old_set(link_lab: LinkLab) -> None:
    old = links.program_id(link_lab.old)
    link_lab.set.attach(link_lab.wanted(link_lab.old))
    bad = Attachment("link2", -1, AttachType.CGROUP_INET_INGRESS)
    with pytest.raises(BpfError, match=r"attaching link2.*undone"):
        link_lab.set.attach([*link_lab.wanted(link_lab.new, 2), bad])
    assert link_lab.running() == [old] * 3


def test_detached_link_is_made_anew_where_it_was_to_be_swapped(link_lab: LinkLab) -> None:
    """`bpftool link detach` leaves the pin of a link that nothing can be swapped in."""
    new = links.program_id(link_lab.new)
    link_lab.set.attach(link_lab.wanted(link_lab.old))
    fd = links.obj_get(link_lab.folder / "link1")
    libbpf.call("bpf_link_detach", fd, what="detaching")
    os.close(fd)
    link_lab.set.attach(link_lab.wanted(link_lab.new))
    assert link_lab.running() == [new] * 3


def test_tracepoint_link_of_a_start_that_was_killed_is_taken_over(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux 6.1 does not attach the same program once more."""
    folder = lab["a"].pins
    old, new = (
        libbpf.prog_load(int(ProgramType.RAW_TRACEPOINT), PASS, name, "GPL", 0)
        for name in ("old", "new")
    )

    def attach_one(program: int) -> None:
        LinkSet(folder, -1).attach([Attachment("fork", program, None, "sched_process_fork")])
        assert [pin.name for pin in folder.iterdir()] == ["fork"]
        link = links.obj_get(folder / "fork")
        assert links.link_program_id(link) == links.program_id(program)
        os.close(link)

    def refuse(program_fd: int, name: str) -> int:
        raise BpfError(errno.EEXIST, name)

    attach_one(old)
    assert _left(folder, new)
    attach_one(old)
    wait_until(lambda: _left(folder, new), "the kernel let go of it, and takes it again")
    with monkeypatch.context() as patched:
        patched.setattr(links, "raw_tracepoint_open", refuse)
        attach_one(new)
    for fd in (old, new):
        os.close(fd)


def _left(folder: Path, program: int) -> bool:
    """What one leaves that is killed before its new link is in its place."""
    try:
        link = links.raw_tracepoint_open(program, "sched_process_fork")
    except BpfError as error:
        if error.errno != errno.EEXIST:
            raise
        return False
    links.obj_pin(link, folder / "fork_new")
    os.close(link)
    return True


@pytest.fixture
def request_(lab: Lab) -> loader.LoadRequest:
    return loader.LoadRequest(pins=lab.bpf / "cordon" / "a", bpffs=lab.bpf)


def test_loading_twice_changes_nothing(lab: Lab, request_: loader.LoadRequest) -> None:
    first = loader.load(request_)
    assert first.loaded
    assert first.attach_pending
    pins = Pins(request_.pins)
    attach(pins, lab["a"].cgroup)
    before = _program_ids(pins)
    second = loader.load(request_)
    assert (second.loaded, second.attach_pending, second.build) == (False, False, first.build)
    assert _program_ids(pins) == before
    everything = [p for folder in (pins.maps, pins.programs, pins.links) for p in folder.iterdir()]
    assert all(pin.stat().st_mode & 0o777 == 0o600 for pin in everything)


def test_new_sources_swap_in_and_keep_the_maps(
    lab: Lab, request_: loader.LoadRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader.load(request_)
    pins = Pins(request_.pins)
    attach(pins, lab["a"].cgroup)
    with BpfMap.open_pinned(pins.maps / "processes") as processes:
        number_of_map = processes.id
    before = _program_ids(pins)
    assemble = sources.assemble
    monkeypatch.setattr(sources, "assemble", lambda *given: assemble(*given) + "\n// newer\n")
    assert loader.load(request_).loaded
    attach(pins, lab["a"].cgroup)
    assert attached(pins) == len(HOOKS)
    assert set(before.values()).isdisjoint(_program_ids(pins).values())
    with BpfMap.open_pinned(pins.maps / "processes") as processes:
        assert processes.id == number_of_map


def test_sources_that_do_not_compile_leave_nothing(
    request_: loader.LoadRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    assemble = sources.assemble
    monkeypatch.setattr(sources, "assemble", lambda *given: assemble(*given) + "\nbroken\n")
    with pytest.raises(LoadFailed, match="bcc could not compile"):
        loader.load(request_)
    pins = Pins(request_.pins)
    assert [*pins.maps.iterdir(), *pins.programs.iterdir(), *pins.links.iterdir()] == []


def test_changed_layout_is_refused_while_the_old_one_is_attached(
    lab: Lab, request_: loader.LoadRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader.load(request_)
    pins = Pins(request_.pins)
    attach(pins, lab["a"].cgroup)
    before = _program_ids(pins)
    monkeypatch.setattr(sources, "layout_fingerprint", lambda root: 12345)
    monkeypatch.setattr(sources, "fingerprint", lambda *parts: 54321)
    with pytest.raises(LoadFailed, match=r"another version's layout.*go on enforcing"):
        loader.load(request_)
    assert _program_ids(pins) == before


def _program_ids(pins: Pins) -> dict[str, int]:
    found = {}
    for hook in HOOKS:
        fd = links.obj_get(pins.links / hook.function)
        found[hook.function] = links.link_program_id(fd)
        os.close(fd)
    return found
