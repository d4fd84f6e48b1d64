# SPDX-License-Identifier: Apache-2.0
"""Where snapshots come from without a controller: a watched file, and the cache of the last good.

The file must be good now; the cache was good when it was written, and time alone does not make it
worse than no policy: after a boot with an expired cache enforcement goes on as it would have
without the boot, and the state says `expired`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agent.core.events import Event, SnapshotMissing, SnapshotRead, SnapshotRefused, Source
from agent.core.snapshot import Held, check
from agent.edge import clock, snapshot_file
from agent.edge.scarcity import is_scarcity

Signature = tuple[int, int, int]


class SnapshotSource:
    """Reads and checks; changes nothing. `changed` is the loop's, `read` may run in a thread.

    starved: for want of descriptors or memory what the file holds is not in force, so it is worth
    being read again though nobody has touched it.
    """

    def __init__(self, file: Path, cache: Path, key: Ed25519PublicKey, host_name: str) -> None:
        self._paths = {Source.FILE: file, Source.CACHE: cache}
        self._file = str(file)  # asked ten times a second: a Path would cost the most of it
        self._key = key
        self._host_name = host_name
        self._seen = self._signature()
        self.starved = False

    def changed(self) -> bool:
        """Whether the file is another one than when this was last asked."""
        before, self._seen = self._seen, self._signature()
        return self._seen != before

    def _signature(self) -> Signature | None:
        try:
            found = os.stat(self._file)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def read(self, source: Source, held: Held | None) -> Event:
        """What became of it, as an event."""
        path = self._paths[source]
        started = time.monotonic()
        self.starved = False
        try:
            loaded = snapshot_file.load(path, self._key)
        except snapshot_file.SnapshotNotFound:
            return SnapshotMissing(source, str(path))
        except snapshot_file.SnapshotRefused as error:
            self.starved = is_scarcity(error.__cause__)
            return SnapshotRefused(source, str(error))
        cached = source is Source.CACHE
        reason = check(
            loaded.snapshot,
            host=self._host_name,
            now=loaded.snapshot.issued if cached else clock.unix_seconds(),
            digest=loaded.digest,
            held=held,
        )
        if reason is not None:
            reason = f"snapshot {path} is refused: {reason}"
            return SnapshotRefused(source, reason, held.order if held is not None else None)
        seconds = time.monotonic() - started
        return SnapshotRead(source, loaded.snapshot, loaded.content, loaded.digest, seconds)
