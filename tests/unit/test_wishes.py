# SPDX-License-Identifier: Apache-2.0
"""Addresses that hosts say they have: when there is something to do, and when not."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from agent.core.model import IPAddress
from controller.wishes import Found, Wishes, holders
from tests.unit.test_addressing import HOST


def ips(*texts: str) -> tuple[IPAddress, ...]:
    return tuple(ipaddress.ip_address(text) for text in texts)


MINE, THEIRS = ips("192.0.2.7", "192.0.2.8")
HELD = replace(HOST, addresses=(MINE,))
TAKEN = {MINE: "web-1", THEIRS: "db-1"}


def wishing(*addresses: IPAddress) -> Wishes:
    wishes = Wishes()
    wishes.say(HOST.name, HOST.number, addresses)
    return wishes


def test_what_it_has_already_is_nothing_to_do() -> None:
    assert wishing(MINE).look(HELD, TAKEN) is None


def test_what_is_free_becomes_the_hosts_and_what_it_has_no_more_is_given_up() -> None:
    assert wishing(*ips("192.0.2.9")).look(HELD, TAKEN) == Found("web-1", ips("192.0.2.9"), None)


def test_what_another_host_has_waits_for_it_to_be_free() -> None:
    wishes = wishing(MINE, THEIRS)
    assert wishes.look(HELD, TAKEN) == Found("web-1", None, ("192.0.2.8: is of host db-1",))
    assert wishes.look(HELD, TAKEN) is None, "nothing is new"
    assert wishes.look(HELD, {MINE: "web-1"}) == Found("web-1", (MINE, THEIRS), ())


def test_what_no_network_covers_waits_for_an_operator() -> None:
    narrow = replace(HELD, networks=(ipaddress.ip_network("192.0.2.7/32"),))
    wishes = wishing(MINE, *ips("198.51.100.7"))
    found = wishes.look(narrow, TAKEN)
    assert found is not None
    assert found.addresses is None
    found = wishes.look(HELD, TAKEN)
    assert found is not None
    assert found.addresses == (MINE, *ips("198.51.100.7"))


def test_what_an_operator_gave_stays_and_is_free_with_his_next_word() -> None:
    fixed = replace(HELD, fixed=True)
    wishes = wishing(*ips("192.0.2.9"))
    found = wishes.look(fixed, TAKEN)
    assert found is not None
    assert found.addresses is None
    assert wishes.look(HELD, TAKEN) == Found("web-1", ips("192.0.2.9"), ())


def test_same_refusal_is_told_once_also_if_the_host_says_it_again() -> None:
    wishes = wishing(MINE, THEIRS)
    assert wishes.look(HELD, TAKEN) is not None
    wishes.say(HOST.name, HOST.number, (MINE, THEIRS))
    assert wishes.look(HELD, TAKEN) is None
    wishes.say(HOST.name, HOST.number, (MINE, THEIRS, *ips("127.0.0.1")))
    found = wishes.look(HELD, TAKEN)
    assert found is not None
    assert found.refused is not None
    assert len(found.refused) == 2


def test_what_could_not_be_written_is_found_again() -> None:
    wishes = wishing(*ips("192.0.2.9"))
    assert wishes.look(HELD, TAKEN) is not None
    wishes.again(HOST.name)
    assert wishes.look(HELD, TAKEN) == Found("web-1", ips("192.0.2.9"), None)


def test_word_of_one_machine_is_not_that_of_the_next_under_its_name() -> None:
    wishes = wishing(*ips("192.0.2.9"))
    anew = replace(HELD, number=HOST.number + 1)
    assert wishes.look(anew, TAKEN) is None
    assert wishes.look(replace(HELD, revoked=True), TAKEN) is None


def test_who_is_gone_wishes_nothing() -> None:
    wishes = wishing(*ips("192.0.2.9"))
    wishes.forget(HOST.name)
    assert (HOST.name in wishes, wishes.names()) == (False, [])
    assert wishes.look(HELD, TAKEN) is None


def test_holders_are_by_address() -> None:
    assert holders([("web-1", (MINE,)), ("db-1", (THEIRS,)), ("new", ())]) == TAKEN
