# SPDX-License-Identifier: Apache-2.0
"""The real `cordonctl` asks real agents: what it shows is what the kernel does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.cli.output import Exit
from agent.edge import cgroups
from agent.edge.hooks import HOOKS
from tests.kernel.asking import Json, ask, connection, ctl
from tests.kernel.world import BASE, PORT, World, policy
from tests.lab import wait_until
from tests.lab.cordon import CordonHost, cordon


@pytest.fixture(scope="module")
def shared() -> Iterator[World]:
    lifeline = (
        "kind: Lifeline\nname: admin\ndirection: in\npeer: {cidr: 10.9.0.0/24}\nports: [tcp/22]"
    )
    with cordon(f"{BASE}\n---\n{lifeline}") as running:
        yield World.build(running)


@pytest.fixture
def world(shared: World) -> World:
    """Shared: no test here changes policy or leaves a connection open."""
    return shared


def of(host: CordonHost, pid: int) -> Json:
    (process,) = ask(host, "ps", "--pid", str(pid))
    return dict(process)


# ---- the socket


def test_control_socket_and_its_lock_are_roots_alone(world: World) -> None:
    for path in (world.cordon["a"].socket, world.cordon["a"].socket.with_suffix(".lock")):
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.stat().st_uid == 0


def test_other_users_cannot_connect_to_it(world: World) -> None:
    """Also where the folder would let them: the socket itself refuses."""
    host = world.cordon["a"]
    code = (
        "import socket,sys\n"
        "try: socket.socket(socket.AF_UNIX).connect(sys.argv[1])\n"
        "except OSError as error: print(type(error).__name__)"
    )
    opened = [folder for folder in host.socket.parents if folder.stat().st_mode & 0o777 == 0o700]
    for folder in opened:
        folder.chmod(0o711)
    argv = ["/usr/bin/python3", "-I", "-S", "-c", code, str(host.socket)]
    said = host.lab.run(argv, user="nobody").stdout
    for folder in opened:
        folder.chmod(0o700)
    assert said == "PermissionError\n"


# ---- status


def test_status_is_what_is_in_force(world: World) -> None:
    status = ask(world.cordon["b"], "status")
    assert status["state"] == "in_sync"
    assert status["host_name"] == "b"
    assert status["hooks_attached"] == status["hooks_expected"] == len(HOOKS)
    assert status["policy_version"] == 1
    assert status["modes"] == dict.fromkeys(["data/db", "front/other", "front/web"], "enforce")
    assert status["lifelines"] == ["admin"]
    assert (status["refused"], status["entries"] > 0) == ("", True)
    shown = ctl(world.cordon["b"], "status").stdout.splitlines()
    assert "mode of data/db        enforce" in shown


def test_status_counts_what_was_judged(world: World) -> None:
    def allowed() -> int:
        return sum(
            count["value"]
            for count in ask(world.cordon["b"], "status")["counters"]
            if (count["verdict"], count["reason"]) == ("allow", "rule_allow")
        )

    before = allowed()
    with connection(world):
        assert allowed() == before + 1


# ---- ps


def test_ps_has_every_process_with_its_identity_and_evidence(world: World) -> None:
    host = world.cordon["a"]
    shown = {process["pid"]: process for process in ask(host, "ps")}
    assert set(shown) == set(cgroups.pids(host.lab.cgroup))
    facts = {
        pid: (process["segment"], process["workload"], process["mode"], process["state"],
              process["evidence"])
        for pid, process in shown.items()
    }  # fmt: skip
    assert facts[world.web.pid] == ("front", "web", "enforce", "attested", ["unit=web.service"])
    assert facts[world.other.pid] == (
        "front", "other", "enforce", "attested", ["unit=other.service"],
    )  # fmt: skip
    assert facts[world.loner.pid] == ("", "host", "audit", "host", [])
    assert shown[world.web.pid]["cgroup"] == "/system.slice/web.service"
    assert shown[world.web.pid]["exe"] == os.readlink(f"/proc/{world.web.pid}/exe")


def test_ps_of_a_process_elsewhere_is_status_1(world: World) -> None:
    done = ctl(world.cordon["a"], "ps", "--pid", str(world.db.pid))
    assert done.returncode == Exit.REFUSED
    assert "is not of this instance, or has ended" in done.stderr


def test_names_of_processes_do_not_steer_the_terminal(world: World) -> None:
    host = world.cordon["a"]
    code = (
        "import ctypes,time\n"
        "ctypes.CDLL(None).prctl(15, b'\\x1b[2J\\xff\\n', 0, 0, 0)\n"  # PR_SET_NAME
        "print(flush=True); time.sleep(60)"
    )
    process = host.lab.spawn(["/usr/bin/python3", "-I", "-S", "-c", code], "web.service")
    wait_until(lambda: process.output() == "\n", "the process to have its new name")
    done = ctl(host, "ps", "--pid", str(process.pid))
    assert r"\x1b[2J" in done.stdout
    assert len(done.stdout.splitlines()) == 2
    assert of(host, process.pid)["command"] == "\x1b[2J\ufffd\n"
    process.kill9()


def test_a_cgroup_may_be_named_with_any_byte(world: World) -> None:
    """Whoever a cgroup is delegated to names what is in it, and must not lose its identity so."""
    host = world.cordon["a"]
    unit = "system.slice/web.service/" + os.fsdecode(b"\xff")
    process = host.lab.spawn(["/bin/sleep", "60"], unit)
    host.wait_attested(process.pid)
    found = of(host, process.pid)
    assert (found["workload"], found["evidence"]) == ("web", ["unit=web.service"])
    assert found["cgroup"] == r"/system.slice/web.service/\xff"
    process.kill9()


def test_an_executable_may_be_named_with_any_byte(world: World) -> None:
    host = world.cordon["a"]
    path = host.lab.folder / os.fsdecode(b"sleep\xff")
    path.write_bytes(Path("/bin/sleep").read_bytes())
    path.chmod(0o755)
    process = host.lab.spawn([str(path), "60"], "web.service")
    host.wait_attested(process.pid)
    assert of(host, process.pid)["exe"].endswith(r"/sleep\xff")
    assert world.web.pid in [found["pid"] for found in ask(host, "ps")]
    process.kill9()


# ---- sockets


def test_sockets_at_both_ends_of_a_connection(world: World) -> None:
    a, b = world.cordon["a"], world.cordon["b"]
    with connection(world) as port:
        client = [s for s in ask(a, "sockets", "--pid", str(world.web.pid)) if s["remote_port"]]
        server = [s for s in ask(b, "sockets", "--pid", str(world.db.pid)) if s["remote_port"]]
    shown = [
        (
            s["state"], s["local_port"], s["remote_port"], s["local_workload"],
            s["peer_workload"], s["proof"], s["verdict"], s["reason"], s["rule_name"],
        )
        for s in (*client, *server)
    ]  # fmt: skip
    judged = ("tag", "allow", "rule_allow", "web-to-db")
    assert shown == [
        ("established", port, PORT, "front/web", "data/db", *judged),
        ("established", PORT, port, "data/db", "front/web", *judged),
    ]


def test_a_listener_is_shown_with_its_workload(world: World) -> None:
    world.listen()
    found = ask(world.cordon["b"], "sockets", "--pid", str(world.db.pid))
    assert [(s["state"], s["local_port"], s["local_workload"]) for s in found] == [
        ("listen", PORT, "data/db")
    ]


# ---- an agent that is not there


def test_killed_agent_is_a_sentence_and_a_new_one_answers_again() -> None:
    with cordon(policy(), hosts=("a",)) as running:
        host = running["a"]
        assert host.agent is not None
        host.agent.kill9()
        done = ctl(host, "status")
        assert (done.returncode, done.stdout) == (Exit.REFUSED, "")
        assert done.stderr.startswith(f"cordonctl: no agent answers at {host.socket}")
        assert "the kernel goes on enforcing" in done.stderr
        host.start()
        host.wait_ready()
        assert ask(host, "status")["load_seconds"] == 0
        host.agent.stop()
        done = ctl(host, "ps")
        assert done.returncode == Exit.REFUSED
        assert f"there is no agent at {host.socket}" in done.stderr
