# SPDX-License-Identifier: Apache-2.0
"""Certificates and authorities are replaced while the controller serves, without a restart.

Waiting is for the controller to look into its store; what takes days in life is done to the store
as of a later day.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import grpc
import pytest
from cryptography import x509

from agent.edge import signed
from agent.pb import enrolment_pb2 as pb
from agent.pb import signed_pb2
from controller import ca
from controller.access_records import HostGrant
from controller.cli.keys import replace_keys
from controller.records import Actor
from controller.rotation import Rotation
from controller.store import SqlStorage
from tests.lab.waiting import wait_until
from tests.server import client
from tests.server.client import Identity
from tests.server.served import Served, Site

PATIENCE = 90.0
ACTOR = Actor("controller")
LATER = int(time.time()) + 9 * 86_400


@pytest.fixture
def own(tmp_path: Path) -> Iterator[tuple[Site, Served, SqlStorage]]:
    """A controller of this test's alone."""
    site = Site(tmp_path)
    site.write()
    site.init()
    with site.store() as storage, Served(site) as served:
        yield site, served, storage


def _join(served: Served, storage: SqlStorage, name: str) -> tuple[Identity, pb.EnrolResponse]:
    key = client.new_key()
    token = client.host_token(storage, HostGrant(name, {}), int(time.time()))
    request = pb.EnrolRequest(token=token, csr=client.csr(key))
    answer = client.enrol(served, client.roots(storage), request)
    return client.identity(key, answer.credentials), answer


def _issuers(pem: bytes) -> set[str]:
    return {ca.spki_pin(c).hex() for c in x509.load_pem_x509_certificates(pem)}


def _pin(storage: SqlStorage, stage: str) -> str:
    row = Rotation("authority", storage.secrets().authorities).find(stage)
    assert row is not None
    return ca.spki_pin(x509.load_der_x509_certificate(row.public)).hex()


def test_a_controller_renews_its_own_certificate(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.write()
    site.init()
    with site.store() as storage:
        short = dataclasses.replace(storage.settings(), certificate_seconds=8)
        storage.update_settings(short, ACTOR, "for a test", int(time.time()))
        with Served(site) as served:
            with client.channel(served.enrolment, client.roots(storage)) as before:
                grpc.channel_ready_future(before).result(PATIENCE)
                first = client.shown_chain(served.enrolment)[0]

                def another() -> x509.Certificate | None:
                    shown = client.shown_chain(served.enrolment)[0]
                    return shown if shown.serial_number != first.serial_number else None

                second = wait_until(another, "another certificate", PATIENCE, 0.2)
                assert second is not None
            assert second.public_key() != first.public_key()
            assert second.not_valid_after_utc > first.not_valid_after_utc
            assert "own certificate renewed generation=2" in served.text


def test_an_authority_is_replaced_while_everybody_works(
    own: tuple[Site, Served, SqlStorage],
) -> None:
    site, served, storage = own
    before, _ = _join(served, storage, "before")
    old = _pin(storage, "active")

    assert site.command("ca", "prepare").returncode == 0
    early = site.command("ca", "activate")
    assert early.returncode == 1
    assert "does not know the next one" in early.stderr
    new = _pin(storage, "next")

    def knows_both() -> Identity | None:
        key = client.new_key()
        renewed = client.identity(key, client.renew(served, before, key).credentials)
        return renewed if _issuers(renewed.roots) == {old, new} else None

    overlap = wait_until(knows_both, "both roots", PATIENCE, 11)  # within the rate of renewals
    assert overlap is not None
    assert _issued_by(overlap, storage) == old

    _step(storage, "activate")
    shown = wait_until(
        lambda: [c for c in client.shown_chain(served.enrolment) if ca.spki_pin(c).hex() == new],
        "the new authority to be shown",
        PATIENCE,
        0.5,
    )
    assert shown
    after, _ = _join(served, storage, "after")
    assert _issued_by(after, storage) == new
    client.renew(served, overlap)
    with pytest.raises(grpc.RpcError) as caught:
        client.renew(served, before)  # it believes the old one alone
    assert client.refusal(caught.value).code is grpc.StatusCode.UNAVAILABLE

    _step(storage, "retire")

    def out() -> bool:
        try:
            client.renew(served, overlap)
        except grpc.RpcError as error:
            return client.refusal(error).code is grpc.StatusCode.UNAVAILABLE
        return False

    wait_until(out, "the old authority to be believed no more", PATIENCE, 11)
    client.renew(served, after)
    assert site.command("ca", "show").stdout.split()[1] == "active"
    assert not storage.check()


def _issued_by(who: Identity, storage: SqlStorage) -> str:
    for row in storage.secrets().authorities:
        root = x509.load_der_x509_certificate(row.public)
        if root.subject == who.certificate.issuer:
            who.certificate.verify_directly_issued_by(root)
            return ca.spki_pin(root).hex()
    raise AssertionError("issued by nobody we know")


def _step(storage: SqlStorage, name: str) -> None:
    """As the command does it, some days later."""
    rotation = Rotation("authority", storage.secrets().authorities)
    rows = getattr(rotation, name)(LATER, storage.certificates_end)
    storage.put_secrets(rows, None, ACTOR, int(time.time()))


def test_the_signing_key_is_replaced_by_sets_that_the_key_before_signs(
    own: tuple[Site, Served, SqlStorage],
) -> None:
    site, served, storage = own
    _, answer = _join(served, storage, "web-1")
    held = _set(answer.policy_keys, [storage.secrets().signing_keys[0].public])
    version = storage.head().version
    assert site.command("signing-key", "prepare").returncode == 0
    assert storage.head().version == version + 1, "everybody is told"
    both = _set(_stored(storage), held.keys)
    assert both.serial == held.serial + 1
    assert set(held.keys) < set(both.keys)
    assert "does not know the next one" in site.command("signing-key", "activate").stderr
    replace_keys(storage, _signing_keys(storage).activate, LATER, storage.certificates_end)
    assert _stored(storage).payload == both.SerializeToString(deterministic=True)
    assert "may need the old one" in site.command("signing-key", "retire").stderr
    replace_keys(storage, _signing_keys(storage).retire, 2 * LATER, storage.certificates_end)
    last = _set(_stored(storage), both.keys)
    (public,) = last.keys
    assert last.serial == both.serial + 1
    assert public not in held.keys
    assert public == _signing_keys(storage).active.public
    assert not storage.check()


def _set(envelope: signed_pb2.Signed, believed: Iterable[bytes]) -> signed_pb2.PolicyKeySet:
    """As an agent that believes these keys reads it."""
    payload = signed.open_signed(envelope, signed.KEY_SET, believed)
    return signed_pb2.PolicyKeySet.FromString(payload)


def _stored(storage: SqlStorage) -> signed_pb2.Signed:
    return signed_pb2.Signed.FromString(storage.secrets().key_set)


def _signing_keys(storage: SqlStorage) -> Rotation:
    return Rotation("signing key", storage.secrets().signing_keys)
