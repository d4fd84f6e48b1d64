# SPDX-License-Identifier: Apache-2.0
"""Who gets no connection, and who gets one and is nobody: attack list 29 and 30."""

from __future__ import annotations

import socket
import ssl
import subprocess
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from agent.pb import enrolment_pb2 as pb
from agent.pb import enrolment_pb2_grpc
from controller import ca
from controller.access_records import Role
from controller.ca import Authority, Leaf
from controller.spiffe import Kind, Subject
from controller.store import SqlStorage
from tests.server import client
from tests.server.client import Identity
from tests.server.served import Served

Code = grpc.StatusCode
NOW = int(time.time())
HOST = Subject("example.org", Kind.HOST, "web-1")
HANDSHAKE_SECONDS = 30.0
UNAUTHENTICATED = Code.UNAUTHENTICATED
NO_CONNECTION = Code.UNAVAILABLE


@pytest.fixture
def authority(storage: SqlStorage) -> Authority:
    return client.authority(storage)


def _identity(
    authority: Authority, leaf: x509.Certificate, key: client.Key, *between: x509.Certificate
) -> Identity:
    chain = b"".join(c.public_bytes(Encoding.PEM) for c in (leaf, *between))
    return Identity(client.key_pem(key), chain, authority.pem)


def _signed(authority: Authority, subject: Subject = HOST, now: int = NOW) -> Identity:
    """A certificate that the store has never heard of, with a key of ours."""
    key = client.new_key()
    leaf = ca.issue(authority, key.public_key(), Leaf(subject, 7, 3600), now)
    return _identity(authority, leaf, key)


def _odd(authority: Authority, *names: x509.GeneralName, subject: str = "web-1") -> Identity:
    """A leaf of our authority that `ca.issue` would never make."""
    key = client.new_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)]))
        .issuer_name(authority.certificate.subject)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(NOW - 60, UTC))
        .not_valid_after(datetime.fromtimestamp(NOW + 3600, UTC))
        .public_key(key.public_key())
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return _identity(authority, builder.sign(authority.key, hashes.SHA256()), key)


def _refused(served: Served, who: Identity) -> client.Refusal:
    with pytest.raises(grpc.RpcError) as caught:
        client.renew(served, who)
    return client.refusal(caught.value)


def test_certificates_that_open_no_connection(served: Served, authority: Authority) -> None:
    foreign = ca.new_authority("example.org", NOW, 1)
    key = client.new_key()
    weak = ca.issue(authority, key.public_key(), Leaf(HOST, 7, 3600), NOW)
    rejected = {
        "another authority of the same name": replace(_signed(foreign), roots=authority.pem),
        "expired": _signed(authority, now=NOW - 7200),
        "not yet valid": _signed(authority, now=NOW + 7200),
        "signed by a host's certificate": _through_a_leaf(authority),
        "another one's key": _identity(authority, weak, client.new_key()),
    }
    for why, who in rejected.items():
        assert _refused(served, who).code in (NO_CONNECTION, Code.INTERNAL), why


def _through_a_leaf(authority: Authority) -> Identity:
    """A host that makes itself an authority."""
    key = client.new_key()
    middle = ca.issue(authority, key.public_key(), Leaf(HOST, 7, 3600), NOW)
    below = Authority(middle, key)
    victim = client.new_key()
    admin = Subject("example.org", Kind.ADMINISTRATOR, "olga", Role.OPERATOR)
    leaf = ca.issue(below, victim.public_key(), Leaf(admin, 8, 60), NOW)
    return _identity(authority, leaf, victim, middle)


def test_a_certificate_under_sha_1_is_nobodys(
    served: Served, authority: Authority, tmp_path: Path
) -> None:
    """Made by openssl, for the library that we issue with refuses to."""
    key = client.new_key()
    files = {name: tmp_path / name for name in ("ca.pem", "ca.key", "csr", "names")}
    files["ca.pem"].write_bytes(authority.pem)
    files["ca.key"].write_bytes(client.key_pem(authority.key))
    files["csr"].write_bytes(client.csr(key))
    files["names"].write_text("subjectAltName=URI:spiffe://example.org/host/forgotten")

    def signed(digest: str) -> Identity:
        chain = subprocess.run(
            ["openssl", "x509", "-req", "-inform", "DER", "-in", files["csr"], digest,
             "-CA", files["ca.pem"], "-CAkey", files["ca.key"], "-set_serial", "9",
             "-days", "1", "-extfile", files["names"]],
            capture_output=True, check=True,
        ).stdout  # fmt: skip
        return Identity(client.key_pem(key), chain, authority.pem)

    assert _refused(served, signed("-sha256")).reason == "REVOKED"
    assert _refused(served, signed("-sha1")).code is UNAUTHENTICATED


def test_certificates_of_ours_that_are_nobodys(served: Served, authority: Authority) -> None:
    uri = x509.UniformResourceIdentifier
    nobodies = {
        "no name": _odd(authority),
        "a DNS name": _odd(authority, x509.DNSName("web-1")),
        "a wildcard": _odd(authority, uri("spiffe://example.org/host/*")),
        "two names": _odd(
            authority, uri("spiffe://example.org/host/a"), uri("spiffe://example.org/host/b")
        ),
        "no kind of ours": _odd(authority, uri("spiffe://example.org/user/olga")),
        "a role that is none": _odd(authority, uri("spiffe://example.org/admin/root/olga")),
        "a controller": _signed(authority, Subject("example.org", Kind.CONTROLLER, "ctl-1")),
    }
    for why, who in nobodies.items():
        assert _refused(served, who).code is UNAUTHENTICATED, why


def test_a_host_that_the_store_does_not_know_is_refused(
    served: Served, authority: Authority
) -> None:
    """Such as one that enrolled after the backup that was restored."""
    stranger = _signed(authority, Subject("example.org", Kind.HOST, "forgotten"))
    assert _refused(served, stranger).reason == "REVOKED"
    unknown = Subject("example.org", Kind.ADMINISTRATOR, "nobody", Role.OPERATOR)
    assert _refused(served, _signed(authority, unknown)).reason == "REVOKED"


def test_a_long_chain_is_no_connection(served: Served, authority: Authority) -> None:
    good = _signed(authority)
    padded = replace(good, chain=good.chain + _signed(authority).chain * 100)
    assert _refused(served, padded).code in (NO_CONNECTION, UNAUTHENTICATED, Code.PERMISSION_DENIED)
    assert served.process.poll() is None


def test_the_main_port_demands_a_certificate(served: Served, authority: Authority) -> None:
    with client.channel(served.main, authority.pem) as opened:
        stub = enrolment_pb2_grpc.EnrolmentServiceStub(opened)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Renew(pb.RenewRequest(), timeout=client.DEADLINE)
    assert client.refusal(caught.value).code is NO_CONNECTION


def test_plaintext_is_no_connection_on_either_port(served: Served) -> None:
    for port in (served.main, served.enrolment):
        with grpc.insecure_channel(f"127.0.0.1:{port}") as opened:
            stub = enrolment_pb2_grpc.EnrolmentServiceStub(opened)
            with pytest.raises(grpc.RpcError) as caught:
                stub.Enrol(pb.EnrolRequest(token="x"), timeout=client.DEADLINE)
            assert client.refusal(caught.value).code is NO_CONNECTION


def test_old_tls_is_no_connection(served: Served) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    address = ("127.0.0.1", served.enrolment)
    with (
        socket.create_connection(address, HANDSHAKE_SECONDS) as plain,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(plain)


def test_a_handshake_that_never_comes_is_ended(served: Served, authority: Authority) -> None:
    """And while many such wait, others are served."""
    address = ("127.0.0.1", served.enrolment)
    waiting = [socket.create_connection(address, 4 * HANDSHAKE_SECONDS) for _ in range(50)]
    try:
        with client.channel(served.enrolment, authority.pem) as opened:
            _check(opened)
        assert waiting[0].recv(1) == b"", "ended by the server, within its handshake time-out"
    finally:
        for one in waiting:
            one.close()


def _check(opened: grpc.Channel, service: str = "") -> int:
    stub = health_pb2_grpc.HealthStub(opened)
    request = health_pb2.HealthCheckRequest(service=service)
    status: int = stub.Check(request, timeout=client.DEADLINE).status
    return status


def test_each_port_refuses_the_others_methods(served: Served, authority: Authority) -> None:
    with client.channel(served.enrolment, authority.pem) as opened:
        stub = enrolment_pb2_grpc.EnrolmentServiceStub(opened)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Renew(pb.RenewRequest(), timeout=client.DEADLINE)
    assert client.refusal(caught.value).code is Code.UNIMPLEMENTED
    with client.channel(served.main, authority.pem, _signed(authority)) as opened:
        stub = enrolment_pb2_grpc.EnrolmentServiceStub(opened)
        for method, request in ((stub.Enrol, pb.EnrolRequest()), (stub.Login, pb.LoginRequest())):
            with pytest.raises(grpc.RpcError) as caught:
                method(request, timeout=client.DEADLINE)
            assert client.refusal(caught.value).code is Code.UNIMPLEMENTED


def test_both_ports_tell_their_health(served: Served, authority: Authority) -> None:
    serving = health_pb2.HealthCheckResponse.SERVING
    for port, who in ((served.enrolment, None), (served.main, _signed(authority))):
        with client.channel(port, authority.pem, who) as opened:
            assert _check(opened) == serving
            assert _check(opened, "cordon.v1.EnrolmentService") == serving


def test_reflection_is_on_the_main_port_if_it_is_set(served: Served, authority: Authority) -> None:
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    with client.channel(served.main, authority.pem, _signed(authority)) as opened:
        stub = reflection_pb2_grpc.ServerReflectionStub(opened)
        (answer,) = stub.ServerReflectionInfo(iter([request]), timeout=client.DEADLINE)
        names = {service.name for service in answer.list_services_response.service}
    assert {"cordon.v1.EnrolmentService", "grpc.health.v1.Health"} <= names
    with client.channel(served.enrolment, authority.pem) as opened:
        stub = reflection_pb2_grpc.ServerReflectionStub(opened)
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.ServerReflectionInfo(iter([request]), timeout=client.DEADLINE))
    assert client.refusal(caught.value).code is Code.UNIMPLEMENTED


def test_the_shown_chain_has_the_pinned_root_and_no_other(
    served: Served, authority: Authority
) -> None:
    chain = client.shown_chain(served.enrolment)
    pins = [ca.spki_pin(certificate) for certificate in chain]
    assert pins[-1] == ca.spki_pin(authority.certificate)
    assert ca.spki_pin(ca.new_authority("example.org", NOW, 1).certificate) not in pins
