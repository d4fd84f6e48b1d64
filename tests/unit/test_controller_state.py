# SPDX-License-Identifier: Apache-2.0
"""Numbers, keys and the signing key: what outlives a compile."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller import allocations, keys, signing
from controller.allocations import Allocations, AllocationsError

NAMES = st.lists(st.text("abc", min_size=1, max_size=3), max_size=6)


def test_numbers_start_above_the_reserved_ones() -> None:
    first = Allocations().extended(["w"], ["h"], ["Allow/r/ingress"])
    assert (first.workloads["w"], first.hosts["h"], first.rules["Allow/r/ingress"]) == (256, 1, 1)
    assert first.revision == 1


@given(st.lists(NAMES, max_size=6))
def test_a_number_is_given_once_and_kept(revisions: list[list[str]]) -> None:
    numbers = Allocations()
    owners: dict[int, str] = {}
    for names in revisions:
        numbers = allocations.decode(numbers.extended(names, names, names).encode())
        for name, number in numbers.workloads.items():
            assert owners.setdefault(number, name) == name
        assert set(names) <= numbers.workloads.keys()


def test_identities_that_have_run_out_are_told() -> None:
    full = Allocations(workloads={"last": 0x7FFFFF})
    with pytest.raises(AllocationsError, match="no numbers left for workloads"):
        full.extended(["one-more"], [], [])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"format": 2}, "expected the format 1"),
        ({"revision": -1}, "expected revision to be a number from 0"),
        ({"revision": True}, "expected revision to be a number from 0"),
        ({"hosts": []}, "expected hosts to be a mapping"),
        ({"workloads": {"x": 5}}, "expected workloads.x to be a number from 256"),
        ({"workloads": {"x": 300, "y": 300}}, "two names share one number in workloads"),
    ],
)
def test_a_damaged_file_of_numbers_is_refused(change: dict[str, object], expected: str) -> None:
    document = json.loads(Allocations().encode()) | change
    with pytest.raises(AllocationsError, match=expected):
        allocations.decode(json.dumps(document))


def test_what_is_not_json_is_refused() -> None:
    with pytest.raises(AllocationsError, match="not JSON"):
        allocations.decode("{")


def test_epochs_reach_from_the_previous_one_to_that_of_the_expiry() -> None:
    assert list(keys.epochs(now=1000, expires=1200, epoch_seconds=100)) == [9, 10, 11, 12]
    assert list(keys.epochs(now=10, expires=150, epoch_seconds=100)) == [1]


def test_secrets_differ_by_epoch_host_and_root() -> None:
    rings = [keys.KeyRing(bytes([root]) * 32, range(5, 7)) for root in (1, 2)]
    secrets = {key.key for ring in rings for host in (1, 2) for key in ring.receive_secrets(host)}
    assert len(secrets) == 8
    assert len({key.key for key in rings[0].pair_keys(1, 2) + rings[0].pair_keys(2, 1)}) == 4


def test_a_key_ring_does_not_print_its_secrets() -> None:
    assert "secret" not in repr(keys.KeyRing(bytes(32), range(1, 2)))


def test_signing_keys_survive_their_file() -> None:
    key = signing.new_key()
    again = signing.load_private(signing.private_pem(key))
    signing.load_public(signing.public_pem(again)).verify(again.sign(b"x"), b"x")
    assert signing.public_pem(again) == signing.public_pem(key)


@pytest.mark.parametrize("pem", [b"", b"x", b"-----BEGIN PRIVATE KEY-----\nAA==\n"])
def test_what_is_no_key_is_refused(pem: bytes) -> None:
    with pytest.raises(signing.SigningKeyError, match="expected an unencrypted Ed25519"):
        signing.load_private(pem)
    with pytest.raises(signing.SigningKeyError, match="expected an Ed25519 public key"):
        signing.load_public(pem)
