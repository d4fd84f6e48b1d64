# SPDX-License-Identifier: Apache-2.0
"""What an agent does when what it is given is wrong: it says so, and what is in force stays.

One agent lives through all the bad snapshots of this file; after each it enforces what it did
before, tells why in `status` and in its log, and takes the next good one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from agent.core.model import Snapshot
from agent.core.snapshot import MAX_SNAPSHOT_BYTES
from agent.edge import snapshot_codec
from controller import signing
from tests.kernel.sealing import hand_over, read_snapshot, signing_key
from tests.kernel.world import BASE, PORT, World
from tests.lab import wait_until
from tests.lab.cordon import Cordon, CordonHost, cordon

DAY = 86_400
MISSING = ("there is no snapshot file", "no snapshot file, waiting for one")


@dataclass
class Victim:
    """Host a, its agent, and the snapshot that is in force there."""

    world: World
    host: CordonHost
    good: bytes

    @property
    def cordon(self) -> Cordon:
        return self.world.cordon

    def changed(self, change: Callable[[Snapshot], Snapshot]) -> bytes:
        """Another snapshot, signed by the trusted key."""
        return snapshot_codec.seal(change(read_snapshot(self.host)), signing_key(self.cordon))

    def refuses(self, put: Callable[[], object], sentence: str, logged: str | None = "") -> None:
        """`put` changes the file; the agent tells why it does not take it, and goes on.

        logged: what its log says if not the sentence; None to leave the log alone, for of a flood
        of refusals it tells some and counts the rest.
        """
        assert self.host.agent is not None
        before, pid = self.host.status(), self.host.agent.pid
        put()
        wait_until(
            lambda: sentence in self.host.status().summary,
            f"status says {sentence!r}; it says {self.host.status().summary!r}",
            timeout=10.0,
        )
        after = self.host.status()
        assert after.state == "stale"
        assert (after.generation, after.policy_version) == (
            before.generation,
            before.policy_version,
        )
        if logged is not None:
            assert (logged or sentence) in self.host.agent.output()
        assert (self.host.agent.alive, self.host.agent.pid) == (True, pid)
        self.enforces()

    def enforces(self) -> None:
        allowed = self.world.web.connect(self.world.b.v4, PORT, timeout=5.0)
        assert allowed.ok, allowed
        self.world.web.close(allowed.handle, reset=True)
        assert self.world.other.connect(self.world.b.v4, PORT).error == "EPERM"

    def recovers(self) -> None:
        """The good file again."""
        path = self.host.snapshot
        if path.is_dir():
            path.rmdir()
        hand_over(self.host, self.good)
        wait_until(lambda: self.host.status().state == "in_sync", "it takes the good one again")
        assert self.host.status().refused == ""


@pytest.fixture(scope="module")
def running() -> Iterator[World]:
    with cordon(BASE) as built:
        world = World.build(built)
        world.listen()
        yield world


@pytest.fixture
def victim(running: World) -> Iterator[Victim]:
    host = running.cordon["a"]
    made = Victim(running, host, host.snapshot.read_bytes())
    yield made
    made.recovers()


WRONG: dict[str, tuple[Callable[[Snapshot], Snapshot], str]] = {
    "host": (lambda s: replace(s, host_name="b"), "it is for host 'b' (1), this is host 'a'"),
    "older version": (
        lambda s: replace(s, version=s.version - 1, issued=s.issued - 1),
        "is older than",
    ),
    "same version": (lambda s: replace(s, rules=()), "is in force with other content"),
    "expired": (
        lambda s: replace(s, issued=s.issued - 2 * DAY, expires=s.issued - DAY, version=999),
        "it expired at",
    ),
    "future": (
        lambda s: replace(s, issued=s.issued + DAY, expires=s.expires + DAY, version=999),
        "which is in the future here",
    ),
    "no secrets": (
        lambda s: replace(s, receive_secrets=(), version=999),
        "it has no receive secret for the current key epoch",
    ),
    "no mode": (lambda s: replace(s, modes={}, version=999), "it has no mode for processes"),
}


@pytest.mark.parametrize(("change", "sentence"), WRONG.values(), ids=WRONG.keys())
def test_signed_snapshot_that_may_not_be_in_force_is_refused(
    victim: Victim, change: Callable[[Snapshot], Snapshot], sentence: str
) -> None:
    victim.refuses(lambda: hand_over(victim.host, victim.changed(change)), sentence)


def test_snapshot_signed_by_another_key_is_refused(victim: Victim) -> None:
    newer = replace(read_snapshot(victim.host), version=999)
    forged = snapshot_codec.seal(newer, signing.new_key())
    victim.refuses(lambda: hand_over(victim.host, forged), "it is signed with key")


def test_snapshot_written_in_place_in_two_halves_is_taken_when_it_is_whole(victim: Victim) -> None:
    newer = victim.changed(lambda s: replace(s, version=s.version + 1))
    half = len(newer) // 2
    with victim.host.snapshot.open("wb", buffering=0) as file:
        file.write(newer[:half])
        wait_until(lambda: victim.host.status().refused, "the half is refused")
        victim.enforces()
        file.write(newer[half:])
    version = read_snapshot(victim.host).version
    wait_until(lambda: victim.host.status().policy_version == version, "the whole is taken")
    assert victim.host.status().state == "in_sync"
    victim.good = newer


def test_empty_file_is_refused(victim: Victim) -> None:
    victim.refuses(lambda: hand_over(victim.host, b""), "payload or signature is missing")


def test_huge_file_is_refused_unread(victim: Victim) -> None:
    def put() -> None:
        fresh = victim.host.lab.write_file("huge", b"")
        os.truncate(fresh, 100 * MAX_SNAPSHOT_BYTES)  # sparse: it takes no room
        fresh.rename(victim.host.snapshot)

    victim.refuses(put, f"is larger than {MAX_SNAPSHOT_BYTES} bytes")
    resident = _resident_bytes(victim.host)
    assert resident < 2 * MAX_SNAPSHOT_BYTES, f"the agent holds on to {resident} bytes"


def test_folder_in_the_files_place_is_refused(victim: Victim) -> None:
    def put() -> None:
        victim.host.snapshot.unlink()
        victim.host.snapshot.mkdir()

    victim.refuses(put, "cannot be read: Is a directory")


def test_fifo_is_refused_and_nobody_waits_for_its_writer(victim: Victim) -> None:
    def put() -> None:
        fifo = victim.host.lab.folder / "fifo"
        os.mkfifo(fifo, 0o600)
        fifo.rename(victim.host.snapshot)

    victim.refuses(put, "is not a regular file")


def test_file_that_everybody_can_write_is_refused(victim: Victim) -> None:
    newer = victim.changed(lambda s: replace(s, version=s.version + 1))
    path = victim.host.snapshot
    victim.refuses(
        lambda: victim.host.lab.write_file(path.name, newer, mode=0o666), "is writable by everybody"
    )


def test_missing_file_is_waited_for(victim: Victim) -> None:
    victim.refuses(victim.host.snapshot.unlink, *MISSING)


def test_symbolic_link_is_followed_and_its_swap_is_seen(victim: Victim) -> None:
    """Configuration management swaps whole folders of files by one link."""
    newer = victim.changed(lambda s: replace(s, version=s.version + 1))
    folder = victim.host.lab.folder
    victim.host.lab.write_file("one.snapshot", victim.good)
    victim.host.lab.write_file("two.snapshot", newer)
    for name, wanted in (("one", victim.good), ("two", newer)):
        link = folder / "link"
        link.symlink_to(f"{name}.snapshot")
        link.rename(victim.host.snapshot)
        version = read_snapshot(victim.host).version
        wait_until(
            lambda version=version: victim.host.status().policy_version == version,  # type: ignore[misc]
            f"the link to {name} is followed",
        )
        assert victim.host.snapshot.read_bytes() == wanted
    assert victim.host.status().state == "in_sync"
    victim.host.snapshot.unlink()
    victim.good = newer


def test_dangling_link_is_a_missing_file(victim: Victim) -> None:
    def put() -> None:
        victim.host.snapshot.unlink()
        victim.host.snapshot.symlink_to("nowhere")

    victim.refuses(put, *MISSING)
    victim.host.snapshot.unlink()


def test_snapshot_with_one_bit_changed_is_refused(victim: Victim) -> None:
    for place in (len(victim.good) // 3, len(victim.good) // 2):
        raw = bytearray(victim.good)
        raw[place] ^= 1
        victim.refuses(lambda raw=bytes(raw): hand_over(victim.host, raw), "is refused: it", None)  # type: ignore[misc]


def test_snapshot_cut_off_anywhere_is_refused(victim: Victim) -> None:
    """As a copy that is not atomic leaves it: the agent never acts on a part."""
    for sixteenth in range(1, 16):
        part = victim.good[: len(victim.good) * sixteenth // 16]
        victim.refuses(lambda part=part: hand_over(victim.host, part), "is refused: it is", None)  # type: ignore[misc]


def _resident_bytes(host: CordonHost) -> int:
    assert host.agent is not None
    status = Path(f"/proc/{host.agent.pid}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024
