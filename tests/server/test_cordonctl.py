# SPDX-License-Identifier: Apache-2.0
"""`cordonctl` against a real controller: logging in, tokens, policy applied and followed."""

from __future__ import annotations

import json
import signal
import socket
import stat
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.cli import credentials, remote
from agent.cli.credentials import FILE, PENDING_KEY
from agent.cli.output import Exit
from agent.pb import enrolment_pb2
from controller.access_records import Role
from controller.store import SqlStorage
from tests.lab.waiting import wait_until
from tests.server import client
from tests.server.administering import PATIENCE, POLICY, Follower, Hosts
from tests.server.commanding import Ctl, following, logged_in, login_token, pair
from tests.server.served import Served, Site
from tests.unit.policies import WEB_TO_DB

OTHER = WEB_TO_DB.replace("6379", "6380").replace("web-to-db", "web-to-db-2")


@pytest.fixture
def operator(served: Served, storage: SqlStorage, tmp_path: Path) -> Ctl:
    return logged_in(served, storage, tmp_path, Role.OPERATOR)


@pytest.fixture
def hosts(served: Served, storage: SqlStorage) -> Iterator[Hosts]:
    with following(served, storage) as made:
        yield made


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """A folder with the base policy."""
    folder = tmp_path / "policy"
    folder.mkdir()
    (folder / "base.yaml").write_text(POLICY)
    return folder


# Logging in.


def test_a_login_is_private_and_tells_the_role(
    served: Served, storage: SqlStorage, tmp_path: Path
) -> None:
    ctl = Ctl(served, tmp_path / "config" / "cordon")
    token = login_token(storage, "erika", Role.EDITOR)
    result = ctl.login(f"{token}\n")
    assert result.exit_code == Exit.OK, result.stderr
    assert result.stdout.startswith("logged in as erika, editor, of example.org; ")
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in ctl.folder.iterdir()}
    assert modes == {FILE: 0o600}
    assert stat.S_IMODE(ctl.folder.stat().st_mode) == 0o700
    assert token.split(".")[2] not in (ctl.folder / FILE).read_text() + served.text
    who = ctl.json("whoami")
    assert (who["name"], who["role"], who["controller"]) == ("erika", "editor", "ctl-1")
    assert "role         editor\n" in ctl.good("whoami")


def test_a_token_is_good_once_and_again_for_the_key_that_waits(
    served: Served, storage: SqlStorage, tmp_path: Path
) -> None:
    ctl, other = Ctl(served, tmp_path / "a"), Ctl(served, tmp_path / "b")
    token = login_token(storage, "karl", Role.VIEWER)
    assert ctl.login(token).exit_code == Exit.OK
    key = json.loads((ctl.folder / FILE).read_text())["key"]
    (ctl.folder / FILE).rename(ctl.folder / PENDING_KEY)  # as if the answer had been lost
    (ctl.folder / PENDING_KEY).write_text(key)
    assert ctl.login(token).exit_code == Exit.OK
    again = other.login(token)
    assert again.exit_code == Exit.NOT_PERMITTED
    assert "ask an operator for another one" in again.stderr
    assert not (other.folder / FILE).exists()


def test_controllers_are_tried_in_order_until_one_answers(
    served: Served, storage: SqlStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = f"127.0.0.1:{taken.getsockname()[1]}"
    ctl = Ctl(served, tmp_path / "config")
    token = login_token(storage, "karl", Role.VIEWER)
    named = ["--controller", closed, "--controller", f"localhost:{served.enrolment}"]
    assert ctl.login(token, *named).exit_code == Exit.OK
    mains = ["--controller", closed, "--controller", f"localhost:{served.main}"]
    assert ctl.json("whoami", *mains)["name"] == "karl"


def test_a_controller_of_another_fleet_is_not_sent_the_token(
    served: Served, storage: SqlStorage, tmp_path: Path
) -> None:
    ctl = Ctl(served, tmp_path / "config")
    token = login_token(storage, "karl", Role.VIEWER)
    strange = ctl.login(token.rpartition(".")[0] + "." + "A" * 43)
    assert strange.exit_code == Exit.UNREACHABLE
    assert "the token was not sent" in strange.stderr
    assert ctl.login(token).exit_code == Exit.OK, "it was not spent"


def test_roots_from_a_file_take_the_place_of_the_pin(
    served: Served, storage: SqlStorage, tmp_path: Path
) -> None:
    roots = tmp_path / "roots.pem"
    roots.write_bytes(client.roots(storage))
    ctl = Ctl(served, tmp_path / "config")
    token = login_token(storage, "karl", Role.VIEWER).rpartition(".")[0]
    named = ["--controller", f"localhost:{served.enrolment}", "--roots", str(roots)]
    assert ctl.login(token, *named).exit_code == Exit.OK


def _held(ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> credentials.Login:
    monkeypatch.setenv(credentials.FOLDER_VARIABLE, str(ctl.folder))
    return credentials.load()


def test_a_certificate_past_its_half_is_renewed_by_the_next_command(
    operator: Ctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _held(operator, monkeypatch)
    operator.good("whoami")
    assert _held(operator, monkeypatch) == before, "it is not due"
    credentials.save(replace(before, renew_after=int(time.time()) - 1))
    assert operator.json("whoami")["name"] == "operator"
    after = _held(operator, monkeypatch)
    assert (after.key != before.key, after.chain != before.chain) == (True, True)
    assert after.renew_after > time.time()
    assert operator.json("whoami")["name"] == "operator", "the new one is good"


def test_a_renewal_that_is_too_many_is_left_out_without_a_word(
    operator: Ctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _held(operator, monkeypatch)
    for _ in range(12):  # 10 are let through at once
        credentials.save(replace(before, renew_after=0))
        result = operator("whoami")
        assert (result.exit_code, result.stderr) == (Exit.OK, "")
    assert _held(operator, monkeypatch) == replace(before, renew_after=0)


def test_who_was_revoked_is_told_so_also_by_a_renewal(
    served: Served, storage: SqlStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctl = logged_in(served, storage, tmp_path, Role.VIEWER, "gone")
    held = _held(ctl, monkeypatch)
    storage.revoke_administrator("gone", client.OPERATOR, "left", int(time.time()))
    assert "was revoked" in ctl.refused(Exit.NOT_PERMITTED, "whoami")
    credentials.save(replace(held, renew_after=0))
    message = ctl.refused(Exit.NOT_PERMITTED, "whoami")
    assert "the certificate was not renewed" in message
    assert "`cordonctl login`" in message


# Roles.


@pytest.mark.parametrize(
    ("role", "needed", "arguments"),
    [
        (Role.VIEWER, "editor", ["apply", "-f", "-", "-m", "x"]),
        (Role.EDITOR, "operator", ["token", "create", "--host", "web-9"]),
        (Role.EDITOR, "operator", ["token", "list"]),
        (Role.EDITOR, "operator", ["hosts", "revoke", "web-9", "-m", "x"]),
    ],
)
def test_what_a_role_may_not_is_status_4_and_names_the_one_that_it_takes(
    served: Served,
    storage: SqlStorage,
    tmp_path: Path,
    role: Role,
    needed: str,
    arguments: list[str],
) -> None:
    ctl = logged_in(served, storage, tmp_path, role)
    message = ctl.refused(Exit.NOT_PERMITTED, *arguments, stdin=POLICY)
    assert message.endswith(f"; ask an operator for a login token of the role {needed}\n")
    assert f"is {role.name.lower()}" in message


# Tokens and hosts.


def test_a_token_stands_alone_on_stdout_and_a_host_joins_with_it(
    served: Served, storage: SqlStorage, operator: Ctl, hosts: Hosts
) -> None:
    result = operator("token", "create", "--host", "new-1", "--labels", "role=web,zone=a")
    assert result.exit_code == Exit.OK
    (token,) = result.stdout.split()
    assert "for `cordon-agent join` of new-1, once, until " in result.stderr
    request = enrolment_pb2.EnrolRequest(
        token=token.rpartition(".")[0], csr=client.csr(client.new_key())
    )
    assert client.enrol(served, client.roots(storage), request).host_name == "new-1"
    (host,) = operator.json("hosts", "list", "--label", "zone=a")
    assert (host["name"], host["labels"], host["state"]) == (
        "new-1", {"role": "web", "zone": "a"}, "enrolled",
    )  # fmt: skip
    assert operator.json("hosts", "list", "--label", "zone=b") == []
    assert operator.json("hosts", "list", "--state", "lost") == []
    shown = operator.good("hosts", "show", "new-1")
    assert "labels       role=web,zone=a\n" in shown
    assert "by a token of operator" in shown
    assert "no-1" in operator.refused(Exit.REFUSED, "hosts", "show", "no-1")
    states = {one["id"]: one["state"] for one in operator.json("token", "list")}
    assert states[token.split(".")[1]] == "spent"
    assert token.split(".")[2] not in operator.good("token", "list")


def test_a_token_that_is_revoked_lets_nobody_in(
    served: Served, storage: SqlStorage, operator: Ctl
) -> None:
    made = operator.json("token", "create", "--admin", "erika", "--role", "editor", "--ttl", "2m")
    assert made["info"]["administrator"] == {
        "name": "erika", "role": "editor", "certificate_seconds": 28_800,
    }  # fmt: skip
    assert 100 < made["info"]["expires"] - made["info"]["created"] <= 120
    message = operator.good("token", "revoke", made["token"], "-m", "sent to nobody")
    assert message == f"token {made['info']['id']} is revoked\n"
    ctl = Ctl(served, operator.folder.parent / "erika")
    assert ctl.login(made["token"]).exit_code == Exit.NOT_PERMITTED
    unknown = operator.refused(Exit.REFUSED, "token", "revoke", "a" * 16)
    assert "a" * 16 in unknown


# Policy.


def test_problems_are_shown_with_file_line_and_source_and_nothing_is_changed(
    operator: Ctl, storage: SqlStorage, policy: Path
) -> None:
    before = storage.fleet().head
    bad = policy / "bad.yaml"
    bad.write_text("kind: Segment\nname: x\nmode: maybe\n")
    message = operator.refused(Exit.BAD_INPUT, "apply", "-f", policy, "-m", "x")
    assert message == (
        f"cordonctl: {bad}:3: mode: expected off, audit or enforce, got 'maybe'\n"
        "     3 | mode: maybe\n"
    )
    answer = operator.json("apply", "-f", policy, "-m", "x", status=Exit.BAD_INPUT)
    assert (answer["revision"], answer["problems_total"]) == (0, 1)
    assert answer["problems"][0] == {
        "file": str(bad), "line": 3, "field": "mode",
        "message": "expected off, audit or enforce, got 'maybe'",
    }  # fmt: skip
    assert message in operator.refused(Exit.BAD_INPUT, "diff", "-f", policy)
    assert storage.fleet().head == before


def test_a_policy_is_tried_compared_applied_and_pruned(
    operator: Ctl, storage: SqlStorage, policy: Path
) -> None:
    tried = operator.good("apply", "-f", policy, "--dry-run")
    assert "created  Allow     web-to-db\n" in tried
    assert "dry run, nothing was changed: 7 documents on 0 hosts\n" in tried
    before = storage.fleet().head.revision
    compared = operator("diff", "-f", policy)
    assert compared.exit_code == Exit.REFUSED
    assert f"against revision {before}: 7 documents on 0 hosts\n" in compared.stdout
    assert "web-to-db" in compared.stdout
    applied = operator.json("apply", "-f", policy, "-m", "the first")
    assert (applied["revision"], applied["changes_total"]) == (before + 1, 7)
    assert {one["change"] for one in applied["changes"]} == {"created"}
    assert operator.good("diff", "-f", policy).endswith("0 documents on 0 hosts\n")
    again = operator.good("apply", "-f", policy, "-m", "the same")
    assert again == "nothing to change: the newest revision says all of it\n"
    text = (policy / "base.yaml").read_text().replace("6379", "6380")
    updated = operator.json("apply", "-f", "-", "-m", "moved", stdin=text)
    assert [(one["change"], one["name"]) for one in updated["changes"]] == [
        ("updated", "web-to-db")
    ]
    without = text.replace(WEB_TO_DB.replace("6379", "6380"), "")
    assert without != text
    kept = operator.good("apply", "-f", "-", "-m", "less", stdin=without)
    assert kept.startswith("nothing to change")
    pruned = operator.json("apply", "-f", "-", "-m", "less", "--prune", stdin=without)
    assert [(one["change"], one["name"]) for one in pruned["changes"]] == [("deleted", "web-to-db")]


def test_somebody_who_was_faster_is_a_conflict(
    operator: Ctl, storage: SqlStorage, policy: Path
) -> None:
    operator.good("apply", "-f", policy, "-m", "x")
    newest = storage.fleet().head.revision
    message = operator.refused(
        Exit.REFUSED, "apply", "-f", "-", "-m", "x", "--expected-revision", newest + 7, stdin=OTHER
    )
    assert "`cordonctl history`" in message
    assert storage.fleet().head.revision == newest


# Rollouts.


def test_waiting_ends_when_every_host_enforces_it(
    operator: Ctl, hosts: Hosts, policy: Path
) -> None:
    web, db = pair(hosts)
    operator.good("apply", "-f", policy, "-m", "x")
    told = operator.good("apply", "-f", "-", "-m", "x", "--wait", stdin=OTHER)
    assert told.splitlines()[-1].endswith("2 of 2 hosts enforce it")
    assert web.version == db.version
    shown = operator.json("rollout")
    assert (shown["version"], shown["enforced"], shown["done"]) == (web.version, 2, True)
    assert operator.json("rollout", web.version, "--watch")["enforced"] == 2


def test_a_host_that_refuses_is_named_with_its_reason_and_status_1(
    operator: Ctl, hosts: Hosts, policy: Path
) -> None:
    pair(hosts, refuses=True)
    text = OTHER.replace("6380", "6381")
    operator.good("apply", "-f", policy, "-m", "x")
    result = operator("apply", "-f", "-", "-m", "x", "--wait", stdin=text)
    assert result.exit_code == Exit.REFUSED, (result.stdout, result.stderr)
    version = result.stdout.split("version ")[1].split(":")[0]
    assert f"cordonctl: b refused version {version}: the kernel is full\n" in result.stderr
    assert result.stdout.splitlines()[-1] == (
        f"version {version}: 1 of 2 hosts enforce it, 1 refused"
    )
    again = operator("rollout")
    assert again.exit_code == Exit.REFUSED
    assert "b     the kernel is full\n" in again.stdout
    answer = operator.json(
        "apply", "-f", "-", "-m", "x", "--wait", status=Exit.REFUSED,
        stdin=text.replace("6381", "6382"),
    )  # fmt: skip
    assert answer["rollout"]["refusals"] == [{"host": "b", "message": "the kernel is full"}]


def silent(follower: Follower) -> None:
    """It reads, and answers nothing from now on."""

    async def ignore(down: object) -> None:
        return

    follower.agent.take = ignore  # type: ignore[method-assign]


def test_a_wait_that_is_over_or_broken_off_takes_nothing_back(
    operator: Ctl, hosts: Hosts, policy: Path, storage: SqlStorage
) -> None:
    _, db = pair(hosts)
    operator.good("apply", "-f", policy, "-m", "x")
    silent(db)
    text = OTHER.replace("6380", "6383")
    late = operator("apply", "-f", "-", "-m", "x", "--wait", "--timeout", "2s", stdin=text)
    assert late.exit_code == Exit.REFUSED, (late.stdout, late.stderr)
    assert "after 2 s 1 host has not answered" in late.stderr
    version = storage.fleet().head.version
    assert f"`cordonctl rollout {version} --watch`" in late.stderr
    child = operator.start("rollout", version, "--watch")
    assert child.stderr is not None
    first = child.stderr.readline()
    assert "1 on its way" in first
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=PATIENCE)
    assert child.returncode == Exit.REFUSED
    assert "it goes on without you" in said
    assert "Traceback" not in said


# A controller in trouble.


def test_a_controller_that_hangs_is_status_3(
    served: Served, operator: Ctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "CONNECT_SECONDS", 1.0)
    served.process.send_signal(signal.SIGSTOP)
    try:
        message = operator.refused(Exit.UNREACHABLE, "whoami")
    finally:
        served.process.send_signal(signal.SIGCONT)
    assert f"localhost:{served.main} (answers, but completes no handshake" in message
    wait_until(lambda: operator("whoami").exit_code == Exit.OK, "it to go on", PATIENCE)


def test_a_controller_that_dies_meanwhile_is_status_3(tmp_path: Path) -> None:
    site = Site(tmp_path / "site")
    site.folder.mkdir()
    site.write()
    site.init()
    with Served(site) as served, site.store() as storage, Hosts(served, storage) as hosts:
        ctl = logged_in(served, storage, tmp_path, Role.OPERATOR)
        _, db = pair(hosts)
        ctl.good("apply", "-f", "-", "-m", "x", "--wait", stdin=POLICY)
        silent(db)
        ctl.good("apply", "-f", "-", "-m", "x", stdin=OTHER)
        child = ctl.start("rollout", storage.fleet().head.version, "--watch")
        assert child.stderr is not None
        assert "1 on its way" in child.stderr.readline()
        served.process.kill()
        _, said = child.communicate(timeout=PATIENCE)
        assert child.returncode == Exit.UNREACHABLE
        assert f"controller localhost:{served.main} ended the connection before it" in said
        assert "it goes on without you" in said
        served.process.wait(PATIENCE)
        message = ctl.refused(Exit.UNREACHABLE, "apply", "-f", "-", "-m", "x", stdin=POLICY)
        assert f"no controller can be reached: localhost:{served.main} (Connection" in message


def test_an_enrolment_port_is_told_apart(served: Served, operator: Ctl) -> None:
    named = f"localhost:{served.enrolment}"
    message = operator.refused(Exit.REFUSED, "whoami", "--controller", named)
    assert f"controller {named} does not know Whoami" in message
    assert "the port is not its main one" in message
