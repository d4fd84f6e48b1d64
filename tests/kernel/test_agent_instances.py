# SPDX-License-Identifier: Apache-2.0
"""Agents beside and after each other: one for an instance, several on a host, and how they begin.

Everything here starts agents; what a running one does with bad snapshots is in
test_agent_faults.py. One long file, for its tests share two agents.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from agent.edge import snapshot_codec
from agent.edge.hooks import HOOKS
from tests.kernel.sealing import hand_over, read_snapshot, signing_key
from tests.kernel.world import BASE, PORT, World
from tests.lab import LabHost, Puppet, wait_until
from tests.lab.cordon import AGENT, ROOT, Cordon, CordonHost, cordon
from tests.lab.host import AGENT_UNIT
from tests.lab.waiting import PATIENCE

FAILED, BAD_INPUT = 1, 2


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    # A hold limit that no start of an agent reaches, however busy the machine is.
    with cordon(BASE, hold_limit_ms=60_000) as running:
        built = World.build(running)
        built.listen()
        yield built


def run_agent(host: LabHost, *arguments: str) -> subprocess.CompletedProcess[str]:
    """To its end: for agents that shall not live."""
    env = {"PYTHONPATH": str(ROOT)}
    return host.run([*AGENT, *arguments], AGENT_UNIT, env=env, timeout=20.0)


def reaches_db(world: World, client: Puppet, patience: float = 5.0) -> str | None:
    """The error of a connection to db, None if it stands."""
    reply = client.connect(world.b.v4, PORT, timeout=patience)
    client.close(reply.handle, reset=True)
    return reply.error


# One for an instance.


def test_second_agent_of_an_instance_ends_and_names_the_first(world: World) -> None:
    host = world.cordon["a"]
    assert host.agent is not None
    before = host.status()
    done = run_agent(host.lab, "run", "--config", str(host.config))
    assert done.returncode == FAILED
    assert f"instance 'a' runs already with pid {host.agent.pid}: stop it first" in done.stderr
    assert done.stdout == ""
    after = host.status()
    assert host.agent.alive
    assert (after.generation, after.hooks_attached) == (before.generation, len(HOOKS))
    assert reaches_db(world, world.web) is None


def test_of_agents_that_start_together_one_lives(world: World) -> None:
    host = world.cordon["a"]
    host.kill9()
    env = {"PYTHONPATH": str(ROOT)}
    argv = [*AGENT, "run", "--config", str(host.config)]
    started = [host.lab.start_daemon(argv, host.lab.logs / f"{i}.log", env) for i in range(4)]
    wait_until(lambda: sum(p.alive for p in started) == 1, "all but one have ended", timeout=20.0)
    winner = next(process for process in started if process.alive)
    for loser in started:
        if loser is winner:
            continue
        assert loser.exit_status == FAILED
        assert f"runs already with pid {winner.pid}" in loser.output()
    host.agent = winner
    host.wait_ready()
    assert reaches_db(world, world.web) is None
    assert reaches_db(world, world.other) == "EPERM"


def test_uninstall_while_an_agent_runs_changes_nothing(world: World) -> None:
    host = world.cordon["a"]
    done = run_agent(host.lab, "uninstall", "--config", str(host.config))
    assert done.returncode == FAILED
    assert "runs already with pid" in done.stderr
    assert host.status().hooks_attached == len(HOOKS)
    assert reaches_db(world, world.other) == "EPERM"


# Several on one host.


def neighbour_of(host: LabHost) -> LabHost:
    """The same host with another subtree of cgroups, for an instance of its own."""
    made = LabHost(
        name="second",
        number=host.number,
        netns=host.netns,
        cgroup=host.cgroup.with_name("second"),
        folder=host.folder / "second",
        pins=host.pins.with_name("second"),
    )
    for folder in (made.folder, made.state, made.config, made.sockets, made.logs):
        folder.mkdir(mode=0o700)
    host.keep(closing(made))
    return made


@pytest.fixture
def second(world: World) -> Iterator[CordonHost]:
    """Beside host a's agent, with the policy that nobody may do anything."""
    made = CordonHost(neighbour_of(world.a))
    silent = replace(read_snapshot(world.cordon["a"]), rules=())
    hand_over(made, snapshot_codec.seal(silent, signing_key(world.cordon)))
    made.lab.unit_cgroup("web.service")
    made.write_config(world.cordon.folder / "out" / "policy.pub", {"host_name": "a"})
    made.start()
    made.wait_ready()
    wait_until(lambda: made.status().state == "in_sync", "the second instance is in sync")
    yield made
    made.close()


def test_two_instances_on_one_host_do_not_disturb_each_other(
    world: World, second: CordonHost
) -> None:
    first = world.cordon["a"]
    web = second.lab.puppet("web.service")
    second.wait_attested(web.pid)
    assert (first.identity(web.pid), second.identity(world.web.pid)) == (0, 0)
    before = first.verdicts()
    assert reaches_db(world, web) == "EPERM"
    assert first.verdicts() == before, "the first has nothing to do with it"
    assert second.verdicts()["egress", "refuse", "no_rule"] == 1
    before = second.verdicts()
    assert reaches_db(world, world.web) is None
    assert second.verdicts() == before
    generation = second.status().generation
    world.cordon.apply(BASE)
    assert second.status().generation == generation
    second.kill9()
    assert reaches_db(world, world.web) is None
    assert reaches_db(world, web) == "EPERM", "it is enforced without its agent"
    done = run_agent(second.lab, "uninstall", "--config", str(second.config))
    assert (done.returncode, done.stderr) == (0, "")
    assert not second.pins.exists()
    # Nobody guards it any more; what it sends has no tag now, and b lets that in nowhere.
    assert reaches_db(world, web, patience=0.3) == "TIMEOUT"
    assert first.status().hooks_attached == len(HOOKS)
    assert reaches_db(world, world.other) == "EPERM"


# Beginnings.

BAD_CONFIGS = {
    "unknown key": ('colour = "red"', "unknown key 'colour', expected one of bpffs, cgroup_root"),
    "wrong type": ("hold_limit_ms = 'long'", "hold_limit_ms is 'long', expected a whole number"),
    "wrong value": ('instance = "a/b"', "instance is 'a/b', expected 1 to 64 letters"),
    "relative path": ('run_dir = "run"', "run_dir is 'run', expected an absolute path"),
    "twice": ('host_name = "x"', "is not TOML"),
    "no TOML": ("host_name", "is not TOML"),
    "no such cgroup": ('cgroup_root = "{cgroup}/none"', "No such file or directory"),
    "no cgroup": ('cgroup_root = "/tmp"', "/tmp is not below the cgroup v2 mount"),
}


@pytest.mark.parametrize(("line", "sentence"), BAD_CONFIGS.values(), ids=BAD_CONFIGS.keys())
def test_bad_config_ends_the_agent_with_file_and_key(
    world: World, line: str, sentence: str
) -> None:
    host = world.cordon["b"].lab
    known = world.cordon["b"].config.read_text(encoding="utf-8").splitlines()
    added = line.replace("{cgroup}", str(host.cgroup))
    key = added.split(" ")[0]
    kept = [old for old in known if not old.startswith(key) or key == "host_name"]
    path = host.write_file("bad.toml", "\n".join([*kept, added]) + "\n")
    done = run_agent(host, "run", "--config", str(path))
    assert done.returncode == BAD_INPUT, done
    assert sentence in done.stderr
    assert str(path) in done.stderr or "cgroup" in done.stderr
    assert len(done.stderr.splitlines()) == 1, "one sentence and no trace"


def test_config_that_is_not_there_or_no_file_is_named(world: World) -> None:
    for path in (world.b.folder / "none.toml", world.b.folder):
        done = run_agent(world.b, "run", "--config", str(path))
        assert (done.returncode, str(path) in done.stderr) == (BAD_INPUT, True), done


def test_policy_key_that_is_none_is_named_with_its_key(world: World) -> None:
    config = world.cordon["b"].config.read_text(encoding="utf-8")
    real = str(world.cordon.folder / "out" / "policy.pub")
    garbage = world.b.write_file("garbage.pub", "-----BEGIN NOTHING-----\n")
    for key in (garbage, world.b.folder / "none.pub"):
        path = world.b.write_file("bad.toml", config.replace(real, str(key)))
        done = run_agent(world.b, "run", "--config", str(path))
        assert done.returncode == BAD_INPUT
        assert f"{path}: policy_key: {key}" in done.stderr


def restart(host: CordonHost) -> None:
    host.kill9()
    host.start()
    host.wait_ready()


def connecting(world: World) -> list[str]:
    """A program that the kernel cannot know, for it connects at once."""
    seconds = 30 * PATIENCE
    code = (
        "import socket; "
        f"socket.create_connection(('{world.b.v4}', {PORT}), {seconds}).close(); "
        "print('connected')"
    )
    return ["/usr/bin/python3", "-I", "-S", "-c", code]


def test_program_that_starts_while_there_is_no_agent_is_held_until_there_is_one(
    world: World,
) -> None:
    """It asks the kernel at once; who it is can only be told when the new agent has a policy."""
    host, argv = world.cordon["a"], connecting(world)
    host.kill9()
    early = [host.lab.spawn(argv, "web.service") for _ in range(3)]
    host.start()
    while not (host.ready() and host.status().state == "in_sync"):
        early.append(host.lab.spawn(argv, "web.service"))
    for process in early:
        assert process.wait(timeout=30.0) == 0, process.output()
        assert process.output() == "connected\n"


@pytest.fixture
def orphan(world: World) -> Iterator[CordonHost]:
    """Host a without its snapshot file; it has it again afterwards."""
    host = world.cordon["a"]
    good = host.snapshot.read_bytes()
    yield host
    hand_over(host, good)
    wait_until(lambda: host.status().state == "in_sync", "it is in sync again")


def test_agent_that_finds_no_file_goes_on_from_its_cache(world: World, orphan: CordonHost) -> None:
    version = orphan.status().policy_version
    orphan.snapshot.unlink()
    restart(orphan)
    wait_until(lambda: orphan.status().state == "cached", "the cache is in force")
    assert "there is no snapshot file" in orphan.status().summary
    assert orphan.status().policy_version == version
    assert reaches_db(world, world.other) == "EPERM"


@pytest.mark.parametrize("damage", ["empty", "half", "other bit", "folder", "everybody's"])
def test_broken_cache_is_ignored_and_what_the_kernel_has_stays(
    world: World, orphan: CordonHost, cache: Path, damage: str
) -> None:
    """Also who is who: an agent without policy would take every process for the host's own."""
    generation = orphan.status().generation
    spoil(cache, damage)
    orphan.snapshot.unlink()
    restart(orphan)
    wait_until(lambda: orphan.status().state == "syncing", "there is no good snapshot")
    assert "there is no snapshot file" in orphan.status().summary
    assert orphan.status().generation == generation
    assert orphan.agent is not None
    assert "the policy cache is not usable, ignoring" in orphan.agent.output()
    assert reaches_db(world, world.web) is None
    assert reaches_db(world, world.other) == "EPERM"


@pytest.fixture
def cache(orphan: CordonHost) -> Iterator[Path]:
    path = orphan.lab.state / "a" / "policy.cache"
    yield path
    if path.is_dir():
        path.rmdir()


def spoil(path: Path, damage: str) -> None:
    content = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
        return
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    spoilt = {"empty": b"", "half": content[: len(content) // 2], "other bit": bytes(flipped)}
    path.write_bytes(spoilt.get(damage, content))
    path.chmod(0o666 if damage == "everybody's" else 0o600)


def test_agent_without_any_snapshot_waits_for_one_and_lets_everything_pass() -> None:
    with cordon(None) as running:
        host = running["b"]
        server = host.lab.puppet("db.service")
        client = running["a"].lab.puppet("other.service")
        listener = server.listen("0.0.0.0", PORT)
        assert listener.ok
        status = host.status()
        assert (status.state, status.generation) == ("syncing", 0)
        assert "there is no snapshot file" in status.summary
        first = client.connect(host.lab.v4, PORT, timeout=5.0)
        assert first.ok, first
        _give_policy(running)
        assert client.connect(host.lab.v4, PORT).error == "EPERM"


def _give_policy(running: Cordon) -> None:
    running.publish(BASE)
    for host in running.hosts.values():
        wait_until(lambda host=host: host.status().state == "in_sync", "the first policy is taken")  # type: ignore[misc]
