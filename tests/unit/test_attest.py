# SPDX-License-Identifier: Apache-2.0
"""Which facts make which identity."""

from dataclasses import replace

import pytest

from agent.core.attest import (
    Facts,
    attest,
    first_failure,
    units_of,
    without_executable,
)
from agent.core.interest import follows_from_executable_key, interest
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
        Selector(sha256="ab" * 32, user="root"),
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
        (Selector(unit="payments-api.service"), Selector(unit="system.slice", user="payments")),
        (Selector(unit="*.slice"), Selector(cgroup="*", user="payments")),
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


HASH = Selector(sha256="ab" * 32, user="payments")


def test_hash_is_wanted_only_where_all_else_holds() -> None:
    found = attest(FACTS, [workload(300, HASH), workload(301, Selector(user="payments"))])
    assert (found.identity, found.wants_hash) == (301, True)
    other = attest(replace(FACTS, user="web"), [workload(300, HASH)])
    assert (other.identity, other.wants_hash) == (Identity.HOST, False)


@pytest.mark.parametrize(("sha256", "identity"), [("ab" * 32, 300), ("cd" * 32, 301), ("", 301)])
def test_known_hash_decides(sha256: str, identity: int) -> None:
    workloads = [workload(300, HASH), workload(301, Selector(exe=FACTS.exe, user="payments"))]
    found = attest(replace(FACTS, sha256=sha256), workloads)
    assert (found.identity, found.wants_hash) == (identity, False)


def test_executable_that_is_not_believed_matches_neither_path_nor_hash() -> None:
    facts = without_executable(replace(FACTS, sha256="ab" * 32))
    both = [workload(300, HASH), workload(301, Selector(exe=FACTS.exe, unit="payments-*"))]
    assert attest(facts, both).identity == Identity.HOST
    assert not attest(facts, both).wants_hash


def in_container(**facts: str) -> Facts:
    return replace(FACTS, cgroup=f"/system.slice/docker-{'1a' * 32}.scope", **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize("pattern", ["1a" * 32, "1a" * 6, "web", "we*", "id=1a1a*", "name=web",
                                     "image=nginx:1.*"])  # fmt: skip
def test_container_is_known_by_id_name_and_image(pattern: str) -> None:
    facts = in_container(container_name="web", container_image="nginx:1.25")
    assert attest(facts, [workload(300, Selector(container=pattern))]).identity == 300


@pytest.mark.parametrize("pattern", ["2b" * 32, "1a" * 5, "nginx:1.25", "image=web", "name=1a*"])
def test_other_container_is_not_it(pattern: str) -> None:
    facts = in_container(container_name="web", container_image="nginx:1.25")
    assert attest(facts, [workload(300, Selector(container=pattern))]).identity == Identity.HOST


def test_path_in_a_container_holds_beside_the_container() -> None:
    facts = replace(in_container(container_name="web"), exe_vouched=False)
    assert attest(facts, [workload(300, Selector(exe=FACTS.exe))]).identity == Identity.HOST
    beside = Selector(exe=FACTS.exe, container="web")
    assert attest(facts, [workload(300, beside)]).identity == 300


def test_container_and_unit_are_equally_specific() -> None:
    facts = in_container(container_name="web")
    both = [workload(300, Selector(container="web")), workload(301, Selector(unit="docker-*"))]
    assert "w300 and s/w301" in attest(facts, both).conflict


@pytest.mark.parametrize(
    ("selector", "failing", "found"),
    [
        (Selector(unit="web.service", user="root"), "unit", "payments-api.service"),
        (Selector(exe="/bin/a"), "exe", "/opt/payments/bin/api"),
        (Selector(cgroup="/a", exe="/bin/a"), "cgroup", "/system.slice/payments-api.service"),
        (Selector(container="web"), "container", ""),
        (Selector(user="root"), "user", "payments"),
        (Selector(group="7"), "group", "pay"),
        (Selector(user="payments", sha256="00" * 32), "sha256", "not read yet"),
    ],
)
def test_first_selector_that_fails_is_named_with_its_value(
    selector: Selector, failing: str, found: str
) -> None:
    check = first_failure(FACTS, selector)
    assert check is not None
    assert (check.selector, check.found) == (failing, found)


def test_alternative_that_holds_has_no_failure() -> None:
    assert first_failure(FACTS, Selector(user="payments", exe=FACTS.exe)) is None


def test_interest_is_what_policy_names() -> None:
    named = [workload(300, Selector(exe="/bin/a"), Selector(user="b"))]
    found = interest(named, 5)
    assert found.exe_paths == {"/bin/a"}
    assert not found.containers
    assert not found.hashes
    more = interest([workload(300, HASH), workload(301, Selector(container="a"))], 5)
    assert (more.containers, more.hashes, more.hash_limit_bytes) == (True, True, 5)
