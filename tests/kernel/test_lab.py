# SPDX-License-Identifier: Apache-2.0
"""The lab itself: its hosts are apart and can talk, and its programs do what they are told.

A kernel test is worth no more than the lab under it. Its tools on the wire are `test_lab_wire`'s;
that it goes away is `test_lab_ends`'.
"""

import os
import signal
import socket
from pathlib import Path

import pytest

from tests.lab import Lab, LabError, Sniffer, wait_until
from tests.lab.puppet import md5_option
from tests.lab.waiting import PATIENCE

FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])


def _cgroup_of(pid: int) -> str:
    lines = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines()
    return next(line.removeprefix("0::") for line in lines if line.startswith("0::"))


# ---- hosts and programs


@FAMILIES
def test_hosts_reach_each_other(lab: Lab, family: int) -> None:
    server, client = lab["b"].puppet("web.service"), lab["a"].puppet("api.service")
    listener = server.listen(lab["b"].address(family), 8080)
    dialled = client.connect(lab["b"].address(family), 8080)
    accepted = server.accept(listener.handle)
    assert dialled.ok
    assert accepted.address == (lab["a"].address(family), dialled.port)
    assert client.send(dialled.handle, b"hello").ok
    assert server.recv(accepted.handle, 5).data == b"hello"


@FAMILIES
def test_hosts_exchange_datagrams(lab: Lab, family: int) -> None:
    there, here = lab["b"].puppet(), lab["a"].puppet()
    receiver = there.udp(family, bind=(lab["b"].address(family), 5353))
    sender = here.udp(family)
    here.sendto(sender.handle, b"ping", (lab["b"].address(family), 5353))
    assert there.recvfrom(receiver.handle).data == b"ping"


def test_three_hosts_share_a_switch() -> None:
    with Lab("a", "b", "c") as lab:
        listener = lab["c"].puppet().listen(lab["c"].v6, 80)
        assert listener.ok
        assert all(lab[name].puppet().connect(lab["c"].v6, 80).ok for name in ("a", "b"))


def test_program_is_in_its_cgroup_and_namespace_from_its_first_instruction(lab: Lab) -> None:
    host = lab["a"]
    shown = host.run(["cat", "/proc/self/cgroup"], unit="db.service").stdout
    assert f"0::/{lab.name}/a/system.slice/db.service\n" in shown
    net = host.run(["stat", "-Lc", "%i", "/proc/self/ns/net"]).stdout
    assert int(net) == host.netns.stat().st_ino != Path("/proc/self/ns/net").stat().st_ino


def test_spawn_returns_after_exec(lab: Lab) -> None:
    process = lab["a"].spawn(["sleep", "60"], unit="user.slice/session-1.scope")
    assert Path(f"/proc/{process.pid}/exe").readlink().name == "sleep"
    assert _cgroup_of(process.pid) == f"/{lab.name}/a/user.slice/session-1.scope"
    assert os.getsid(process.pid) == process.pid
    assert process.stop() == -signal.SIGTERM


def test_program_runs_as_the_user_asked_for(lab: Lab) -> None:
    assert lab["a"].run(["id", "-u"], user="nobody").stdout == "65534\n"
    assert lab["a"].run(["id", "-G"], user=4711).stdout == "4711\n"
    assert lab["a"].puppet(user="nobody").listen("127.0.0.1", 80).error == "EACCES"
    assert lab["a"].puppet().listen("127.0.0.1", 80).ok


def test_program_does_not_inherit_ignored_signals(lab: Lab) -> None:
    status = lab["a"].run(["grep", "SigIgn", "/proc/self/status"]).stdout
    the_c_librarys_own = 1 << 31 | 1 << 32  # 32 and 33: no program can set or handle them
    assert int(status.split()[1], 16) & ~the_c_librarys_own == 0


def test_program_that_cannot_start_is_an_error_with_its_name(lab: Lab) -> None:
    with pytest.raises(LabError, match=r"cannot start no-such-program: .*No such file"):
        lab["a"].spawn(["no-such-program"])


def test_run_that_does_not_end_is_killed(lab: Lab) -> None:
    with pytest.raises(LabError, match=rf"sleep on a did not end in {0.1 * PATIENCE:g} s"):
        lab["a"].run(["sleep", "60"], timeout=0.1, unit="slow.service")
    assert (lab["a"].unit_cgroup("slow.service") / "cgroup.procs").read_text() == ""


def test_daemon_runs_in_the_agents_unit_and_logs(lab: Lab) -> None:
    daemon = lab["a"].start_daemon(
        ["sh", "-c", "echo $NAME ready; exec sleep 60"], env={"NAME": "x"}
    )
    wait_until(lambda: "x ready" in daemon.output(), "the daemon's first line")
    assert _cgroup_of(daemon.pid).endswith("/a/system.slice/cordon-agent.service")
    assert daemon.kill9() == -signal.SIGKILL


def test_stop_kills_what_does_not_end(lab: Lab) -> None:
    stubborn = lab["a"].start_daemon(
        ["sh", "-c", "trap '' TERM; echo on; while :; do sleep 1; done"]
    )
    wait_until(lambda: "on" in stubborn.output(), "the trap to be set")
    assert stubborn.stop(timeout=0.1) == -signal.SIGKILL


def test_sysctl_is_of_one_host_alone(lab: Lab) -> None:
    own = Path("/proc/sys/net/ipv4/tcp_syncookies").read_text(encoding="ascii").strip()
    assert lab["a"].sysctl("net.ipv4.tcp_syncookies", 2) == "2"
    assert lab["b"].sysctl("net.ipv4.tcp_syncookies") == own
    assert Path("/proc/sys/net/ipv4/tcp_syncookies").read_text(encoding="ascii").strip() == own


def test_written_file_is_whole_and_private(lab: Lab) -> None:
    path = lab["a"].write_file("config/agent.toml", "x = 1\n")
    assert path.read_text(encoding="utf-8") == "x = 1\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["agent.toml"]


def test_unit_can_be_removed(lab: Lab) -> None:
    process = lab["a"].spawn(["sleep", "60"], unit="gone.service")
    lab["a"].remove_unit("gone.service")
    assert process.wait() == -signal.SIGKILL
    assert not (lab["a"].cgroup / "system.slice/gone.service").exists()


# ---- puppets


def test_refusals_are_answers(lab: Lab) -> None:
    client = lab["a"].puppet()
    assert client.connect(lab["b"].v4, 9).error == "ECONNREFUSED"
    assert client.connect("203.0.113.1", 9).error == "ENETUNREACH"
    assert client.send(12345, b"x").error == "EBADF"
    listener = client.listen(lab["a"].v4)
    assert client.accept(listener.handle, timeout=0.01).error == "TIMEOUT"


def test_batch_uses_handles_that_it_makes(lab: Lab) -> None:
    listener = lab["b"].puppet().listen(lab["b"].v4)
    client = lab["a"].puppet()
    made = client.op_socket(bind=(lab["a"].v4, 40000))
    handle = made["handle"]
    replies = client.call(
        [
            made,
            client.op("connect", handle, to=(lab["b"].v4, listener.port)),
            client.op("getpeername", handle),
            client.op("close", handle, reset=True),
        ]
    )
    assert [reply.error for reply in replies] == [None] * 4
    assert replies[1].address == (lab["a"].v4, 40000)
    assert replies[2].port == listener.port


def test_puppet_makes_many_connections(lab: Lab) -> None:
    server, client = lab["b"].puppet(), lab["a"].puppet()
    listener = server.listen(lab["b"].v4)
    for _ in range(200):
        dialled = client.connect(lab["b"].v4, listener.port)
        accepted = server.accept(listener.handle)
        client.close(dialled.handle, reset=True)
        server.close(accepted.handle)
        assert dialled.ok
        assert accepted.ok


def test_puppet_that_was_killed_is_an_error(lab: Lab) -> None:
    puppet = lab["a"].puppet("web.service")
    puppet.process.kill9()
    with pytest.raises((LabError, ValueError)):
        puppet.listen(lab["a"].v4)


@FAMILIES
def test_md5_signatures_need_the_same_key(lab: Lab, family: int) -> None:
    a, b = lab["a"].address(family), lab["b"].address(family)
    listener = lab["b"].puppet().listen(b, options=[md5_option(a, b"one")])
    client = lab["a"].puppet()
    assert client.connect(b, listener.port, options=[md5_option(b, b"one")]).ok
    wrong = client.connect(b, listener.port, options=[md5_option(b, b"two")], timeout=0.2)
    assert wrong.error == "TIMEOUT"


def test_fast_open_carries_data_in_the_syn(lab: Lab) -> None:
    for host in lab.hosts.values():
        host.sysctl("net.ipv4.tcp_fastopen", 3)  # client and server, with cookies
    server, client, sniffer = lab["b"].puppet(), lab["a"].puppet(), Sniffer(lab["b"])
    listener = server.listen(lab["b"].v4, options=[(socket.IPPROTO_TCP, 23, 16)])
    for _ in range(2):
        assert client.connect(lab["b"].v4, listener.port, fastopen=b"early").count == 5
        accepted = server.accept(listener.handle)
        assert server.recv(accepted.handle, 5).data == b"early"
    sniffer.wait_for(lambda c: c.segment.is_syn and c.segment.payload == b"early", "data in a SYN")


# ---- waiting


def test_wait_that_fails_names_its_reason() -> None:
    with pytest.raises(AssertionError, match=rf"waited {0.02 * PATIENCE:g} s for rain; last"):
        wait_until(lambda: False, "rain", timeout=0.02)
