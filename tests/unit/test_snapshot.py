# SPDX-License-Identifier: Apache-2.0
"""A snapshot comes into force only if it is for this host, now, and sound; else it says why."""

import ipaddress
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings

from agent.core import snapshot as checks
from agent.core.model import (
    Action,
    EpochKey,
    Identity,
    Mode,
    Network,
    PortRange,
    Protocol,
    Selector,
    Settings,
    Snapshot,
    Workload,
)
from tests.unit import snapshots
from tests.unit.snapshots import EPOCH, FAR, LAN, NOW, WEB, rule, snapshot, tcp

SOUND = snapshot(rule(1, peers={FAR, LAN}, ports=(tcp(443),)))


def refusal(broken: Snapshot, **changed: Any) -> str | None:
    return checks.check(broken, **{"host": "a", "now": NOW, **changed})


def test_a_sound_snapshot_is_taken_by_name_and_by_number() -> None:
    assert refusal(SOUND) is None
    assert refusal(SOUND, host=1) is None


@given(snapshots.snapshots())
@settings(max_examples=50)
def test_sound_random_snapshots_are_taken(sound: Snapshot) -> None:
    assert refusal(sound) is None


def test_the_snapshot_of_another_host_is_refused() -> None:
    assert refusal(SOUND, host="b") == "it is for host 'a' (1), this is host 'b'"
    assert refusal(SOUND, host=2) == "it is for host 'a' (1), this is host 2"


def held(version: int, digest: bytes = b"x", store_epoch: int = 0) -> checks.Held:
    return checks.Held(store_epoch, version, digest)


def test_an_older_revision_is_refused() -> None:
    assert refusal(SOUND, held=held(9)) == "revision 7 is older than 9 in force"


def test_a_newer_revision_is_taken() -> None:
    assert refusal(SOUND, held=held(6), digest=b"y") is None


def test_the_stores_epoch_comes_before_the_revision() -> None:
    assert refusal(replace(SOUND, store_epoch=2), held=held(9, store_epoch=1)) is None
    found = refusal(replace(SOUND, store_epoch=1), held=held(3, store_epoch=2))
    assert found == "it is of epoch 1 of the controller's store, which is older than 2 in force"


def test_the_revision_in_force_is_taken_again_but_not_with_other_content() -> None:
    assert refusal(SOUND, held=held(7), digest=b"x") is None
    found = refusal(SOUND, held=held(7), digest=b"y")
    assert found is not None
    assert "revision 7 is in force with other content" in found


def test_an_expired_snapshot_is_refused() -> None:
    found = refusal(SOUND, now=SOUND.expires)
    assert found == "it expired at 2027-01-15T09:00:00+00:00"


def test_a_snapshot_of_the_future_is_refused_beyond_the_tolerance() -> None:
    early = replace(SOUND, issued=NOW + checks.CLOCK_TOLERANCE_SECONDS)
    assert refusal(early) is None
    found = refusal(replace(early, issued=early.issued + 1))
    assert found is not None
    assert "in the future" in found


def test_dates_beyond_the_calendar_are_refused_like_others() -> None:
    far = replace(SOUND, issued=2**63, expires=2**64 - 1)
    found = refusal(far)
    assert found is not None
    assert f"unix second {2**63}" in found


def test_host_is_checked_before_version_and_version_before_expiry() -> None:
    stale = {"held": held(9), "now": SOUND.expires}
    assert "this is host" in str(refusal(SOUND, host="b", **stale))
    assert "is older than" in str(refusal(SOUND, **stale))


def with_rule(**changed: Any) -> Snapshot:
    return replace(SOUND, rules=(replace(SOUND.rules[0], **changed),))


def with_peer(**changed: Any) -> Snapshot:
    return replace(SOUND, peers=(SOUND.peers[0], replace(SOUND.peers[1], **changed)))


def with_workload(**changed: Any) -> Snapshot:
    first, *others = SOUND.workloads
    return replace(SOUND, workloads=(replace(first, **changed), *others))


def ports(protocol: Protocol, first: int, last: int) -> Snapshot:
    return with_rule(ports=(PortRange(protocol, first, last),))


def addresses(*texts: str) -> Snapshot:
    return with_peer(addresses=tuple(ipaddress.ip_address(text) for text in texts))


def lifeline(**changed: Any) -> Snapshot:
    return with_rule(action=Action.LIFELINE, **({"peers": frozenset({LAN})} | changed))


def secrets(*epochs: int) -> Snapshot:
    return replace(SOUND, receive_secrets=tuple(EpochKey(e, bytes(16)) for e in epochs))


def network(identity: int, cidr: str) -> Snapshot:
    added = Network(identity, ipaddress.ip_network(cidr))
    return replace(SOUND, networks=(*SOUND.networks, added))


BROKEN: list[tuple[Callable[[], Snapshot], str]] = [
    (lambda: replace(SOUND, host=0), "host number 0"),
    (lambda: replace(SOUND, version=0), "no revision number"),
    (lambda: replace(SOUND, issued=NOW + 200, expires=NOW + 100), "before it is issued"),
    (lambda: replace(SOUND, settings=Settings(epoch_seconds=0)), "epoch of 0 seconds"),
    (lambda: with_workload(identity=255), "identity 255, not one of 256"),
    (lambda: with_workload(identity=0x800000), "identity 8388608, not one of"),
    (lambda: with_workload(identity=301), "seg/w300 and seg/w301 share one identity"),
    (lambda: with_workload(match=()), "seg/w300 matches no process"),
    (lambda: with_workload(name=""), "lacks a name"),
    (
        lambda: with_workload(match=(Selector(exe="/bin/w301"),)),
        "seg/w300 and seg/w301 match the same processes: exe=/bin/w301",
    ),
    (
        lambda: replace(SOUND, modes={k: v for k, v in SOUND.modes.items() if k != 1}),
        "no mode for processes that match no workload",
    ),
    (
        lambda: replace(SOUND, modes={k: v for k, v in SOUND.modes.items() if k != WEB}),
        "workload seg/w300 has no mode",
    ),
    (lambda: replace(SOUND, modes={**SOUND.modes, 999: Mode.OFF}), "mode for identity 999"),
    (lambda: network(0x7FFFFF, "10.0.0.0/8"), "identity 8388607, not a network's"),
    (lambda: network(0x1000000, "10.0.0.0/8"), "identity 16777216, not a network's"),
    (lambda: network(0x800099, "192.0.2.0/24"), "192.0.2.0/24 is listed twice"),
    (lambda: network(0x800099, "::ffff:1.2.3.0/120"), "must be written as IPv4"),
    (lambda: with_rule(number=0), "rule 0 (rule-1) has a number"),
    (
        lambda: replace(SOUND, rules=(*SOUND.rules, replace(SOUND.rules[0], name="other"))),
        "rule 1 (other) has the number of another rule (rule-1)",
    ),
    (lambda: with_rule(locals=frozenset({999})), "is for identity 999, not on this host"),
    (lambda: with_rule(peers=frozenset({0})), "names identity 0"),
    (lambda: with_rule(peers=frozenset({int(Identity.MANAGED)})), "names identity 7"),
    (lambda: with_rule(peers=frozenset({0x800099})), "names identity 8388761"),
    (lambda: lifeline(locals=frozenset({WEB})), "a lifeline is for the whole host"),
    (lambda: lifeline(staged=True), "a staged lifeline"),
    (lambda: lifeline(peers=frozenset({FAR})), "a lifeline goes by address"),
    (lambda: ports(Protocol.TCP, 81, 80), "TCP 81 to 80, which is no range"),
    (lambda: ports(Protocol.TCP, 0, 65536), "no range of ports"),
    (lambda: ports(Protocol.OTHER, 1, 1), "other protocols have no ports"),
    (lambda: ports(Protocol.ICMP, 8, 256), "types of ICMP end at 255"),
    (lambda: with_peer(host=1), "has the number of another peer"),
    (lambda: with_peer(host=0), "peer b (0) has a number"),
    (lambda: replace(SOUND, peers=SOUND.peers[1:]), "is not among its own peers"),
    (lambda: addresses("192.0.2.1"), "has address 192.0.2.1, as has peer a (1)"),
    (lambda: addresses("127.0.0.1"), "which is no host's own"),
    (lambda: addresses("::"), "which is no host's own"),
    (lambda: addresses("::ffff:1.2.3.4"), "must be written as IPv4"),
    (lambda: with_peer(residents=frozenset({1})), "is said to run identity 1"),
    (lambda: with_peer(keys=(EpochKey(EPOCH, b"short"),)), "has 5 bytes, not 16"),
    (lambda: with_peer(keys=(EpochKey(0, bytes(16)),)), "epoch 0 is not possible"),
    (lambda: secrets(EPOCH, EPOCH), f"epoch {EPOCH} is there twice"),
    (lambda: secrets(EPOCH, EPOCH + 16), "are more than 16"),
    (lambda: secrets(EPOCH - 1, EPOCH + 1), f"no receive secret for the current key epoch {EPOCH}"),
]


@pytest.mark.parametrize(("broken", "expected"), BROKEN, ids=[text for _, text in BROKEN])
def test_an_unsound_snapshot_is_refused_with_the_reason(
    broken: Callable[[], Snapshot], expected: str
) -> None:
    found = refusal(replace(broken(), host_name="a"))
    assert found is not None
    assert expected in found


def test_two_rules_of_one_document_may_share_its_number() -> None:
    both = replace(SOUND, rules=(*SOUND.rules, replace(SOUND.rules[0], peers=None)))
    assert refusal(both) is None


def test_alternatives_of_one_workload_may_repeat() -> None:
    twice = Workload(WEB, "w300", "seg", (Selector(exe="/x"), Selector(exe="/x")))
    assert refusal(replace(SOUND, workloads=(twice, *SOUND.workloads[1:]))) is None


def test_key_ids_are_the_first_bytes_of_the_digest() -> None:
    assert checks.key_id(bytes(32)).hex() == "66687aadf862bd77"


def test_no_sentence_shows_a_key() -> None:
    secret = bytes(range(0x30, 0x3F))
    broken = replace(SOUND, receive_secrets=(EpochKey(EPOCH, secret),))
    assert secret.hex() not in str(refusal(broken))
    assert secret.decode() not in str(refusal(broken)) + repr(broken)


@pytest.mark.parametrize("address", ["127.0.0.1", "::", "ff02::1", "::ffff:192.0.2.9"])
def test_managed_addresses_are_hosts_own(address: str) -> None:
    found = refusal(replace(SOUND, managed=frozenset({ipaddress.ip_address(address)})))
    assert found is not None
    assert found.startswith(f"a managed host has address {ipaddress.ip_address(address)}")


def test_no_host_has_the_strangers_number() -> None:
    assert "is not between 1 and 4294967294" in str(refusal(with_peer(host=0xFFFFFFFF)))
