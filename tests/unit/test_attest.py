# SPDX-License-Identifier: Apache-2.0
"""Which facts make which identity."""

from dataclasses import replace

import pytest

from agent.core.attest import (
    Facts,
    attest,
    exe_paths,
    follows_from_executable_key,
    units_of,
    unsupported,
)
from agent.core.model import Identity, Selector, Workload

FACTS = Facts(
    pid=42,
    started=1000,
    command="api",
    uid=1001,
    gid=1002,
    user="payments",
    group="pay",
    cgroup="/system.slice/payments-api.service",
    cgroup_id=77,
    exe="/opt/payments/bin/api",
    exe_vouched=True,
    inode=5,
    device=1 << 20,
    ctime_ns=0,
    links=1,
)


def workload(identity: int, *match: Selector) -> Workload:
    return Workload(identity, f"w{identity}", "s", match)


@pytest.mark.parametrize(
    ("cgroup", "units"),
    [
        ("/", ()),
        ("/system.slice", ("system.slice",)),
        ("/system.slice/a.service", ("a.service", "system.slice")),
        ("/system.slice/a.service/worker", ("a.service", "system.slice")),
        ("/system.slice/system-a.slice/a@1.service",
         ("a@1.service", "system-a.slice", "system.slice")),
        ("/system.slice/docker-abc.scope", ("docker-abc.scope", "system.slice")),
        ("/_cpu.service", ("cpu.service",)),
        ("/init.scope", ("init.scope",)),
        ("/lxc/guest/system.slice/a.service", ()),
    ],
)  # fmt: skip
def test_unit_is_first_component_after_slices(cgroup: str, units: tuple[str, ...]) -> None:
    assert units_of(cgroup) == units


def test_user_cannot_take_a_unit_by_naming_a_cgroup_that_was_delegated_to_him() -> None:
    cgroup = "/user.slice/user-1000.slice/user@1000.service/app.slice/payments-api.service"
    facts = replace(FACTS, cgroup=cgroup)
    target = workload(300, Selector(unit="payments-api.service"))
    assert attest(facts, [target]).identity == Identity.HOST


@pytest.mark.parametrize(
    "selector",
    [
        Selector(unit="payments-api.service"),
        Selector(unit="payments-*.service"),
        Selector(unit="system.slice"),
        Selector(cgroup="/system.slice/payments-*"),
        Selector(exe="/opt/payments/bin/api"),
        Selector(user="payments"),
        Selector(user="1001"),
        Selector(group="pay"),
        Selector(group="1002"),
        Selector(unit="payments-api.service", exe="/opt/payments/bin/api", user="payments"),
    ],
)
def test_selector_holds(selector: Selector) -> None:
    found = attest(FACTS, [workload(300, selector)])
    assert found.identity == 300
    assert found.name == "s/w300"
    assert found.evidence


@pytest.mark.parametrize(
    "selector",
    [
        Selector(),
        Selector(unit="payments-API.service"),
        Selector(unit="payments-api.service", user="root"),
        Selector(cgroup="/system.slice"),
        Selector(exe="/opt/payments/bin/api2"),
        Selector(user="0"),
        Selector(group="payments"),
        Selector(sha256="00" * 32),
        Selector(container="abc", exe="/opt/payments/bin/api"),
    ],
)
def test_selector_does_not_hold(selector: Selector) -> None:
    assert attest(FACTS, [workload(300, selector)]).identity == Identity.HOST


def test_path_in_another_mount_namespace_holds_only_beside_a_selector_of_the_cgroup() -> None:
    facts = replace(FACTS, exe_vouched=False)
    exe = "/opt/payments/bin/api"
    assert attest(facts, [workload(300, Selector(exe=exe))]).identity == Identity.HOST
    alone = workload(300, Selector(exe=exe, user="payments"))
    assert attest(facts, [alone]).identity == Identity.HOST
    beside = workload(300, Selector(exe=exe, unit="payments-api.service"))
    assert attest(facts, [beside]).identity == 300


@pytest.mark.parametrize(
    ("more", "less"),
    [
        (Selector(exe=FACTS.exe), Selector(unit="payments-api.service", user="payments")),
        (Selector(unit="payments-api.service"), Selector(cgroup="*", user="payments")),
        (Selector(cgroup="*"), Selector(user="payments", group="pay")),
        (Selector(exe=FACTS.exe, user="payments"), Selector(exe=FACTS.exe)),
        (Selector(user="payments", group="pay"), Selector(user="payments")),
    ],
)
def test_more_specific_workload_wins_in_either_order(more: Selector, less: Selector) -> None:
    winner, loser = workload(300, more), workload(301, less)
    assert attest(FACTS, [winner, loser]).identity == 300
    assert attest(FACTS, [loser, winner]).identity == 300


def test_tie_is_host_and_a_sentence_that_names_both() -> None:
    tied = [workload(300, Selector(user="payments")), workload(301, Selector(group="pay"))]
    for order in (tied, tied[::-1]):
        found = attest(FACTS, order)
        assert found.identity == Identity.HOST
        assert "s/w300 and s/w301" in found.conflict


def test_tie_of_lesser_workloads_does_not_matter() -> None:
    tied = [workload(300, Selector(user="payments")), workload(301, Selector(group="pay"))]
    found = attest(FACTS, [*tied, workload(302, Selector(exe=FACTS.exe))])
    assert (found.identity, found.conflict) == (302, "")


def test_alternatives_of_one_workload_do_not_tie_with_each_other() -> None:
    target = workload(300, Selector(user="payments"), Selector(group="pay"))
    assert attest(FACTS, [target]).identity == 300


def test_policy_with_groups_is_not_kept_by_executable() -> None:
    assert follows_from_executable_key([workload(300, Selector(exe="/bin/a", user="b"))])
    assert not follows_from_executable_key([workload(300, Selector(exe="/bin/a", group="b"))])


def test_selectors_that_are_not_read_are_told() -> None:
    found = unsupported([workload(300, Selector(sha256="a")), workload(301, Selector(user="b"))])
    assert found == ("s/w300",)


def test_exe_paths_are_those_that_policy_names() -> None:
    named = [workload(300, Selector(exe="/bin/a"), Selector(user="b"))]
    assert exe_paths(named) == {"/bin/a"}
