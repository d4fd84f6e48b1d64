# SPDX-License-Identifier: Apache-2.0
"""Puts a compiled policy into the kernel: built aside, installed beside, switched by one store.

Each of the seven policy maps is an array of two inner maps; bit 0 of `control.generation` names the
slot in force. A program reads the generation once a run, so a new policy may be installed in the
other slot as soon as nobody can still be reading what is there: the runs that began before the last
switch. One RCU grace period after the last switch makes sure of that; an update of any outer map
waits for one, so right after a switch, beside everything else, an unchanged inner map of the slot
in force is put once more. Each install waits for a grace period too, so the seven go in parallel
(ctypes gives up the interpreter's lock).

A failure at any step leaves the generation, and with it the whole old policy, as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from agent.core import delta
from agent.core.abi import EPOCH_KEY, EPOCH_SLOTS, GENERATION_FLAG_BITS, GenerationFlag
from agent.core.abi import pack_epoch_key as pack
from agent.core.model import EpochKey
from agent.edge import failpoint
from agent.edge.control_page import ControlPage
from agent.edge.maps import NO_PREALLOC, BpfMap, MapKind

Entries = Mapping[bytes, bytes]
POLICY_MAPS = ("rules", "ranges", "addresses", "networks", "peers", "residents", "modes")
_TRIES = ("ranges", "networks")
_SLOT_BYTES = 4
_EMPTY_SECRET = bytes(EPOCH_KEY.size)


@dataclass(frozen=True, slots=True)
class Settings:
    """What goes into `struct control` before a policy is in force."""

    host: int
    epoch_ns: int
    hold_limit_ns: int
    refusals_per_second: int


@dataclass(frozen=True, slots=True)
class Applied:
    """The generation that is now in force, and how many entries it has."""

    generation: int
    entries: int


def next_generation(now: int, flags: int) -> int:
    """The following serial number, in the slot that is not in force."""
    serial = (now >> GENERATION_FLAG_BITS) + 1
    slot = (now & GenerationFlag.SLOT) ^ GenerationFlag.SLOT
    return serial << GENERATION_FLAG_BITS | (flags & ~GenerationFlag.SLOT) | slot


class PolicyMaps:
    """The pinned maps that a policy lives in. One writer at a time: the daemon's worker."""

    def __init__(self, folder: Path, control: ControlPage) -> None:
        self._control = control
        with ExitStack() as opened:
            self._outer = {
                name: opened.enter_context(BpfMap.open_pinned(folder / name))
                for name in POLICY_MAPS
            }
            self._templates = {
                name: opened.enter_context(BpfMap.open_pinned(folder / f"{name}_inner"))
                for name in POLICY_MAPS
            }
            self._secrets = opened.enter_context(BpfMap.open_pinned(folder / "receive_secrets"))
            self._settler = ThreadPoolExecutor(1)
            opened.callback(self._settler.shutdown)
            self._opened = opened.pop_all()
        self._settled = self._settler.submit(self._wait_for_readers, control.generation)

    def apply(
        self,
        maps: Mapping[str, Entries],
        flags: int,
        secrets: Sequence[EpochKey],
        settings: Settings,
    ) -> Applied:
        """Switch to a new policy. Raises BpfError (MapFull); nothing is switched then."""
        now = self._control.generation
        generation = next_generation(now, flags)
        slot = generation & GenerationFlag.SLOT
        with ExitStack() as inner, ThreadPoolExecutor(len(POLICY_MAPS)) as threads:
            fresh = {
                name: inner.enter_context(self._build(name, maps[name])) for name in POLICY_MAPS
            }
            self._make_settled(now)
            secret_plan = self._plan_secrets(secrets)
            self._put_secrets(secret_plan.puts)
            self._write_settings(settings)
            installs = [
                threads.submit(self._replace, name, slot, fresh[name]) for name in POLICY_MAPS
            ]
            _finish(installs)
            failpoint.reached("policy.before-switch")
            self._control.write("generation", generation)
        failpoint.reached("policy.after-switch")
        self._settled = self._settler.submit(self._wait_for_readers, generation)
        self._put_secrets(dict.fromkeys(secret_plan.deletes, _EMPTY_SECRET))
        return Applied(generation, sum(len(maps[name]) for name in POLICY_MAPS))

    def _build(self, name: str, entries: Entries) -> BpfMap:
        """An inner map like the outer one's template, sized to need, filled."""
        template = self._templates[name]
        trie = name in _TRIES
        built = BpfMap.create(
            MapKind.LPM_TRIE if trie else MapKind.HASH,
            f"{name}_inner",
            template.key_size,
            template.value_size,
            max(1, len(entries)),
            NO_PREALLOC if trie else 0,
        )
        try:
            built.put_batch(list(entries.keys()), list(entries.values()))
            failpoint.reached("policy.filled")
        except Exception:
            built.close()
            raise
        return built

    def _make_settled(self, now: int) -> None:
        """Wait for the wait that began with the last switch; if it failed, begin anew."""
        if self._settled.exception() is not None:
            self._wait_for_readers(now)

    def _wait_for_readers(self, now: int) -> None:
        """Until no program runs that began before the last switch."""
        if not now:
            return  # no policy was ever in force: nobody reads either slot
        name = POLICY_MAPS[-1]
        slot = now & GenerationFlag.SLOT
        number = self._outer[name].get(_slot_key(slot))
        assert number is not None, "the slot in force is never empty"
        with BpfMap.by_id(int.from_bytes(number, "little"), name) as unchanged:
            self._install(name, slot, unchanged)

    def _replace(self, name: str, slot: int, inner: BpfMap) -> None:
        failpoint.reached("policy.before-install")
        self._install(name, slot, inner)

    def _install(self, name: str, slot: int, inner: BpfMap) -> None:
        self._outer[name].put(_slot_key(slot), inner.fd.to_bytes(_SLOT_BYTES, "little"))

    def _plan_secrets(self, secrets: Sequence[EpochKey]) -> delta.Delta[int, bytes]:
        desired = {key.epoch % EPOCH_SLOTS: pack(key) for key in secrets}
        actual = {
            int.from_bytes(key, "little"): value
            for key, value in self._secrets.items()
            if value != _EMPTY_SECRET
        }
        return delta.plan(desired, actual)

    def _put_secrets(self, values: Mapping[int, bytes]) -> None:
        for slot, value in values.items():
            self._secrets.put(_slot_key(slot), value)

    def _write_settings(self, settings: Settings) -> None:
        self._control.write("host", settings.host)
        self._control.write("epoch_ns", settings.epoch_ns)
        self._control.write("hold_limit_ns", settings.hold_limit_ns)
        self._control.write("refusals_per_second", settings.refusals_per_second)

    def close(self) -> None:
        self._opened.close()


def _slot_key(slot: int) -> bytes:
    return slot.to_bytes(_SLOT_BYTES, "little")


def _finish(futures: Sequence[Future[None]]) -> None:
    """Wait for all of them, then raise what the first failed one raised."""
    for error in [future.exception() for future in futures]:
        if error is not None:
            raise error
