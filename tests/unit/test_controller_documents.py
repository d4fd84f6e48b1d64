# SPDX-License-Identifier: Apache-2.0
"""Every class of mistake in a document or an inventory has its sentence: file, line, field."""

from __future__ import annotations

import pytest

from controller.documents import Segment
from controller.problems import InputRefused
from tests.unit.policies import HOSTS, inventory, revision

ALLOW = "kind: Allow\nname: x\nfrom: {any: true}\nto: {any: true}\nports: [any]\n"
WORKLOAD = "kind: Workload\nname: x\nsegment: s\n"


def sentences(text: str) -> list[str]:
    with pytest.raises(InputRefused) as caught:
        revision(text)
    return caught.value.sentences()


def allow(old: str, new: str) -> str:
    assert old in ALLOW
    return ALLOW.replace(old, new)


def match(text: str) -> str:
    return f"{WORKLOAD}match: [{{{text}}}]\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- 1\n", "p.yaml:1: expected a document with kind: Workload, Segment"),
        ("name: x\n", "p.yaml:1: kind: expected one of Workload, Segment, Allow, Deny, Lifeline, "
         "got no kind"),
        ("kind: Alow\n", "p.yaml:1: kind: expected one of Workload, Segment, Allow"),
        ("kind: Segment\nname: x\n", "p.yaml:1: mode: this field is missing"),
        ("kind: Segment\nname: x\nmode: on\n",
         "p.yaml:3: mode: expected off, audit or enforce, got 'on'"),
        ("kind: Segment\nname: x\nmode: audit\nmod: 1\n",
         "p.yaml:4: mod: unknown field; expected one of name, until, reason, kind, mode; "
         "did you mean mode?"),
        ("kind: Segment\nname: X_1\nmode: off\n",
         "p.yaml:2: name: expected a name of 1 to 63 lower-case letters"),
        ("kind: Segment\nname: no\nmode: off\n",
         'p.yaml:2: name: expected text, got the bare word no, which YAML 1.1 reads as a boolean: '
         'write "no" in quotes'),
        ("kind: Segment\nname: p\u0430y\nmode: off\n",
         r"p.yaml:2: name: expected a name of 1 to 63 lower-case letters, digits and hyphens that "
         r"starts and ends with a letter or digit, got 'p\u0430y'"),
        (f"kind: Segment\nname: {'x' * 10_000}\nmode: off\n", "p.yaml:2: name: expected a name"),
        (f"{WORKLOAD}match: []\n", "p.yaml:4: match: expected at least 1 items, got 0"),
        (f"{WORKLOAD}match: x\n", "p.yaml:4: match: expected a list, got 'x'"),
        (f"{WORKLOAD}match: [x]\n", "p.yaml:4: match[0]: expected a mapping, got 'x'"),
        (match("host: {a: b}"), "p.yaml:4: match[0]: expected at least one of unit, cgroup"),
        (match("exe: nginx"), "p.yaml:4: match[0].exe: expected a path that starts with /"),
        (match("exe: /a/../b"), "p.yaml:4: match[0].exe: expected the executable's real path"),
        (match("unit: a/b"), "p.yaml:4: match[0].unit: expected a systemd unit's name"),
        (match("user: x, uid: 1"), "p.yaml:4: match[0]: expected either user or uid, got both"),
        (match("user: '1000'"), "p.yaml:4: match[0].user: expected a user's name, got '1000'"),
        (match("uid: -1"), "p.yaml:4: match[0].uid: expected at least 0, got the number -1"),
        (match("uid: '1'"), "p.yaml:4: match[0].uid: expected a whole number, got '1'"),
        (match("unit: 5"), "p.yaml:4: match[0].unit: expected text, got the number 5"),
        (match("unitt: x"), "p.yaml:4: match[0].unitt: unknown field; expected one of unit, "),
        (match("exe: /x").replace("segment: s", "segment: default"),
         "p.yaml:3: segment: expected a segment other than default"),
        (match("exe: /x") + "labels: {country: no}\n",
         "p.yaml:5: labels.country: expected text, got the bare word no"),
        (allow("from: {any: true}", "from: {segment: a, workload: b}"),
         "p.yaml:3: from: expected exactly one of"),
        (allow("from: {any: true}", "from: {}"), "p.yaml:3: from: expected exactly one of"),
        (allow("from: {any: true}", "from: []"), "p.yaml:3: from: expected at least 1 items"),
        (allow("from: {any: true}", "from: x"), "p.yaml:3: from: expected a list, got 'x'"),
        (allow("from: {any: true}", "from: {any: false}"),
         "p.yaml:3: from.any: expected true, got false"),
        (allow("from: {any: true}", "from: {cidr: 10.0.0.1/8}"),
         "p.yaml:3: from.cidr: expected a network without host bits, got 10.0.0.1/8: "
         "write 10.0.0.0/8"),
        (allow("from: {any: true}", "from: {cidr: 10.0.0.0/33}"),
         "p.yaml:3: from.cidr: expected a network such as 198.51.100.0/24"),
        (allow("from: {any: true}", "from: {cidr: '::ffff:10.0.0.0/104'}"),
         "p.yaml:3: from.cidr: expected a network without a zone, IPv4 in dotted form"),
        (allow("from: {any: true}", "from: {cidr: 167772160}"),
         "p.yaml:3: from.cidr: expected text, got the number 167772160"),
        (allow("from: {any: true}", "from:\n  - any: true\n  - sgment: x"),
         "p.yaml:5: from[1].sgment: unknown field"),
        (allow("[any]", "tcp/22"), "p.yaml:5: ports: expected a list, got 'tcp/22'"),
        (allow("[any]", "[443]"), "p.yaml:5: ports[0]: expected a port such as tcp/443"),
        (allow("[any]", "[any, tcp/443-80]"),
         "p.yaml:5: ports[1]: expected the lower port first: tcp/80-443, got 'tcp/443-80'"),
        (allow("[any]", "[any]\nmode: off"),
         "p.yaml:6: mode: expected enforce or audit, got 'off'"),
        (allow("[any]", "[any]\nuntil: 2030-01-01"),
         "p.yaml:6: until: expected a time with its zone such as 2030-01-31T18:00:00Z"),
        (allow("[any]", "[any]\nreason: \"a\\e[2Jb\""),
         "p.yaml:6: reason: expected printable ASCII text"),
        ("kind: Lifeline\nname: x\ndirection: in\npeer: {segment: x}\nports: [any]\n",
         "p.yaml:4: peer.segment: unknown field; expected one of cidr, world, any"),
        (f"{ALLOW}---\n{ALLOW}",
         "p.yaml:8: name: expected a new name, but Allow x stands in p.yaml:1 already"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_document_is_named(text: str, expected: str) -> None:
    assert any(sentence.startswith(expected) for sentence in sentences(text)), sentences(text)


def test_all_mistakes_are_told_at_once_up_to_a_bound() -> None:
    bad = "".join(f"kind: Segment\nname: s{i}\nmode: x\n---\n" for i in range(50))
    told = sentences(bad)
    assert len(told) == 21
    assert told[-1] == "and 30 more; mend these first"


def test_mode_off_is_a_mode_and_no_boolean() -> None:
    ((segment, _),) = revision("kind: Segment\nname: x\nmode: off\n").of(Segment)
    assert segment.mode == "off"


def hosts_sentences(old: str, new: str) -> list[str]:
    assert old in HOSTS
    with pytest.raises(InputRefused) as caught:
        inventory(HOSTS.replace(old, new))
    return caught.value.sentences()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("example.org", "Example.org", "hosts.yaml:1: trust_domain: expected a trust domain"),
        ("name: b", "name: a",
         "hosts.yaml:4: hosts[1].name: expected a new name, but line 3 has a host a already"),
        ("192.0.2.2", "192.0.2.1", "hosts.yaml:4: hosts[1].addresses[0]: expected an address of "
         "this host alone, but a has 192.0.2.1 too"),
        ("192.0.2.2", "127.0.0.1",
         "hosts.yaml:4: hosts[1].addresses[0]: expected an address that other hosts can tell"),
        ("192.0.2.2", "192.0.2.2/24",
         "hosts.yaml:4: hosts[1].addresses[0]: expected an address such as 192.0.2.1"),
        ('"fd00::2"', '"::ffff:192.0.2.9"', "hosts.yaml:4: hosts[1].addresses[1]: expected an "),
        ("{role: db}", "{role: db}, tags: maybe",
         "hosts.yaml:4: hosts[1].tags: expected true or false, got 'maybe'"),
        ("hosts:", "settings: {epoch: 10}\nhosts:",
         "hosts.yaml:2: settings.epoch: expected a duration such as 90s, 10m, 12h or 30d, "
         "got the number 10"),
        ("hosts:", "settings: {epoch: 1s}\nhosts:",
         "hosts.yaml:2: settings.epoch: expected a duration from 10s to 30d, got 1s"),
        ("hosts:", "settings: {epoch: 10m, validity: 30d}\nhosts:",
         "hosts.yaml:2: settings.validity: expected at most 14 key epochs, got 30d with an epoch "
         "of 10m: make epoch at least"),
        ("hosts:", "settings: {refusal_events_per_second: 0}\nhosts:",
         "hosts.yaml:2: settings.refusal_events_per_second: expected at least 1"),
        ("hosts:", "--- {}\n---\nhosts:", "hosts.yaml: expected one document"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_inventory_is_named(old: str, new: str, expected: str) -> None:
    told = hosts_sentences(old, new)
    assert any(sentence.startswith(expected) for sentence in told), told


def test_tags_are_switched_by_on_and_off() -> None:
    text = HOSTS.replace("{role: db}", "{role: db}, tags: off")
    assert [host.tags for host in inventory(text).hosts] == [True, False, True]
