# SPDX-License-Identifier: Apache-2.0
"""Why a process is who it is."""

from agent.core.model import Selector, Workload
from agent.core.whois import Candidate, candidates, described
from tests.unit.test_roster import FACTS

WORKLOADS = (
    Workload(300, "api", "s", (Selector(unit="web.service"), Selector(unit="api.service"))),
    Workload(301, "mine", "s", (Selector(user="payments"),)),
    Workload(302, "other", "t", (Selector(user="payments", exe="/opt/other"),)),
)


def test_every_alternative_has_its_answer() -> None:
    assert candidates(FACTS, WORKLOADS) == [
        Candidate("api", "s", 1, False, False, "unit", "web.service", "api.service"),
        Candidate("api", "s", 2, True, True),
        Candidate("mine", "s", 1, True, False),
        Candidate("other", "t", 1, False, False, "exe", "/opt/other", "/opt/api"),
    ]


def test_facts_are_named_as_selectors_name_them() -> None:
    assert described(FACTS) == {
        "unit": "api.service, system.slice",
        "cgroup": "/system.slice/api.service",
        "exe": "/opt/api",
        "user": "payments (1001)",
        "group": "pay (1002)",
    }
