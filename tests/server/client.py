# SPDX-License-Identifier: Apache-2.0
"""Somebody who calls a controller: keys, requests, channels, and how a refusal reads.

Written against the contract, not with the agent's code: it may do what no agent would.
"""

from __future__ import annotations

import secrets
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from agent.pb import enrolment_pb2 as pb
from agent.pb import enrolment_pb2_grpc
from controller import ca, tokens
from controller.access_records import AdministratorGrant, HostGrant, NewToken, Role
from controller.records import Actor
from controller.rotation import Rotation
from controller.storage import Storage
from tests.server.served import Served

DEADLINE = 60.0
OPERATOR = Actor("spiffe://example.org/admin/operator/olga")
Key = ec.EllipticCurvePrivateKey


def new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def csr(key: Key) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def key_pem(key: Key) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@dataclass(frozen=True, slots=True)
class Identity:
    """A key, its chain and whom it believes, all PEM."""

    key: bytes
    chain: bytes
    roots: bytes

    @property
    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.chain)


@dataclass(frozen=True, slots=True)
class Refusal:
    """reason, details: of ErrorInfo. retry: seconds of RetryInfo, None if there is none."""

    code: grpc.StatusCode
    reason: str
    text: str
    retry: float | None
    details: Mapping[str, str] = field(default_factory=dict)


def refusal(error: grpc.RpcError) -> Refusal:
    status = rpc_status.from_call(error)
    reason, retry, said = "", None, dict[str, str]()
    for detail in status.details if status else ():
        info, delay = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            assert info.domain == "cordon"
            reason, said = info.reason, dict(info.metadata)
        elif detail.Unpack(delay):
            retry = delay.retry_delay.seconds + delay.retry_delay.nanos / 1e9
    return Refusal(error.code(), reason, error.details() or "", retry, said)


def channel(port: int, roots: bytes, identity: Identity | None = None) -> grpc.Channel:
    shown = (identity.key, identity.chain) if identity else (None, None)
    credentials = grpc.ssl_channel_credentials(roots, *shown)
    options = (("grpc.use_local_subchannel_pool", 1),)
    return grpc.secure_channel(f"localhost:{port}", credentials, options)


def enrol(served: Served, roots: bytes, request: pb.EnrolRequest) -> pb.EnrolResponse:
    with channel(served.enrolment, roots) as opened:
        stub = enrolment_pb2_grpc.EnrolmentServiceStub(opened)
        return stub.Enrol(request, timeout=DEADLINE)


def login(served: Served, roots: bytes, token: str, key: Key) -> pb.LoginResponse:
    with channel(served.enrolment, roots) as opened:
        stub = enrolment_pb2_grpc.EnrolmentServiceStub(opened)
        return stub.Login(pb.LoginRequest(token=token, csr=csr(key)), timeout=DEADLINE)


def renew(served: Served, identity: Identity, key: Key | None = None) -> pb.RenewResponse:
    with channel(served.main, identity.roots, identity) as opened:
        stub = enrolment_pb2_grpc.EnrolmentServiceStub(opened)
        return stub.Renew(pb.RenewRequest(csr=csr(key or new_key())), timeout=DEADLINE)


def identity(key: Key, credentials: pb.Credentials) -> Identity:
    return Identity(key_pem(key), credentials.certificate_chain, credentials.roots)


def host_token(storage: Storage, grant: HostGrant, now: int, ttl: int = 900) -> str:
    return _token(storage, grant, now, ttl)


def login_token(storage: Storage, name: str, role: Role, now: int) -> str:
    return _token(storage, AdministratorGrant(name, role, 3600), now, 900)


def _token(storage: Storage, grant: HostGrant | AdministratorGrant, now: int, ttl: int) -> str:
    """As it is sent: without the pin."""
    text, id_, hash_ = tokens.new_token(secrets.token_bytes(tokens.RANDOM_BYTES), bytes(32))
    storage.create_token(NewToken(id_, hash_, grant, now + ttl), OPERATOR, "", now)
    return text.rpartition(".")[0]


def authority(storage: Storage) -> ca.Authority:
    """The active one, key and all."""
    return ca.from_secret(Rotation("authority", storage.secrets().authorities).active)


def roots(storage: Storage) -> bytes:
    return b"".join(ca.from_secret(row).pem for row in storage.secrets().authorities)


def shown_chain(port: int) -> list[x509.Certificate]:
    """What a port shows to somebody who trusts nothing yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", port), DEADLINE) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as wrapped,
    ):
        shown = wrapped._sslobj.get_unverified_chain()  # type: ignore[attr-defined] # public in 3.13
        return [x509.load_pem_x509_certificate(one.public_bytes().encode()) for one in shown]
