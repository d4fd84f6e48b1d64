# SPDX-License-Identifier: Apache-2.0
"""Where a test of the controller's end of a policy stream begins, what it changes, and how the
agent has to end up.
"""

from __future__ import annotations

from dataclasses import replace

from agent.core.content import digest
from controller.talk import Changed, End
from tests.unit.fleets import rows
from tests.unit.policies import WEB_TO_DB
from tests.unit.streams import Agent, Site, Talk, nack

CHANGED = Changed()


def site() -> Site:
    return Site(rows(WEB_TO_DB))


def talk(name: str = "a") -> Talk:
    made = site()
    return Talk(made, Agent(name, made.rows.hosts[name].number))


def synced(name: str = "a") -> Talk:
    made = talk(name)
    made.connect()
    made.settle()
    made.sent.clear()
    return made


def kinds(made: Talk) -> list[type]:
    return [type(action) for action in made.sent]


def edit(made: Talk, port: int) -> None:
    made.site.rows.put(WEB_TO_DB.replace("6379", str(port)))
    made.site.publish()


def relabel(made: Talk, **labels: str) -> None:
    row = made.site.rows.hosts["a"]
    serial = row.record_serial + 1
    made.site.rows.put_host(replace(row, labels={**row.labels, **labels}, record_serial=serial))
    made.site.publish()


def right(made: Talk) -> bool:
    """The agent holds exactly what is meant for it, with the keys for it."""
    fleet, agent = made.site.fleet, made.agent
    content = fleet.content(fleet.audience(agent.name))
    assert agent.record is not None
    return (
        digest(agent.entries) == content.digest
        and agent.release is not None
        and agent.release.audience == agent.record.audience
        and agent.record.serial == fleet.record(agent.name).serial
        and not agent.missing(agent.entries, made.site.desk)
        and not agent.unconfirmed
    )


def refuse_policy(made: Talk, reason: int) -> list[object]:
    """The agent refuses the policy that is on its way; what is sent then."""
    made.down.clear()
    made.sent.clear()
    assert made.stream is not None
    made.agent.nonce = nonce = made.stream._nonce
    made.tell(nack(nonce, reason))
    return list(made.sent)


def ends(made: Talk) -> list[tuple[str, str]]:
    return [(a.status, a.reason) for a in made.sent if isinstance(a, End)]
