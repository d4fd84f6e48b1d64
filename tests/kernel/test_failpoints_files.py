# SPDX-License-Identifier: Apache-2.0
"""The agent dies while it writes what must outlive it, and the next one has what was before.

Where the cache was not yet in its place and the policy's file has gone as well, the last cached
policy comes back: a whole one, and told as such.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kernel.test_failpoints import die_at
from tests.kernel.world import ALLOW, BASE, policy
from tests.lab import wait_until
from tests.lab.cordon import Cordon, cordon


@pytest.fixture(scope="module")
def running() -> Iterator[Cordon]:
    with cordon(BASE, hosts=("a",)) as built:
        yield built


@pytest.mark.parametrize("number", range(4))
def test_cache_is_the_last_one_or_the_one_before(running: Cordon, number: int) -> None:
    point = ("file.before-write", "file.before-sync", "file.before-rename", "file.after-rename")[
        number
    ]
    host = running["a"]
    wait_until(lambda: host.status().state == "in_sync", "it is in sync")
    before = host.status().policy_version
    running.publish(policy(ALLOW.replace("tcp/5441", f"tcp/{6000 + number}")))
    wait_until(lambda: host.status().policy_version > before, "the first of two is in force")
    cached = host.status().policy_version
    host.kill9()
    running.publish(policy(ALLOW.replace("tcp/5441", f"tcp/{7000 + number}")))
    die_at(host, point)
    kept = host.snapshot.read_bytes()
    host.snapshot.unlink()
    host.start()
    host.wait_ready()
    wait_until(lambda: host.status().state == "cached", "the cache is in force")
    newest = point == "file.after-rename"
    assert host.status().policy_version == cached + (1 if newest else 0)
    host.lab.write_file(host.snapshot.name, kept)
    wait_until(lambda: host.status().policy_version == cached + 1, "the newest is in force")
    folder = host.lab.state / "a"
    wait_until(
        lambda: {path.name for path in folder.iterdir()} == {"policy.cache"},
        "what the dead one left is cleared away",
    )
