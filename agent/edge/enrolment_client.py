# SPDX-License-Identifier: Apache-2.0
"""Joining, logging in and renewing: the calls of `EnrolmentService`, of hosts and administrators.

The first connection is already authenticated: the token carries the hash of the authority's public
key, and of the chain that the port shows only a root with that key is trusted for the channel that
carries the token's secret. The hash itself stays on the host.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from socket import create_connection
from typing import Protocol

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from agent.edge.identity_files import csr_of
from agent.pb import enrolment_pb2 as pb
from agent.pb import enrolment_pb2_grpc

DEADLINE_SECONDS = 30.0
MAX_CHAIN = 8
_OPTIONS = (("grpc.use_local_subchannel_pool", 1),)
_TOKEN = re.compile(
    r"(cordon1\.[a-z2-7]{16}\.[A-Za-z0-9_-]{43})(?:\.([A-Za-z0-9_-]{43}))?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """How a call ended. reason, details: of ErrorInfo. retry: seconds of RetryInfo, or 0."""

    code: grpc.StatusCode
    text: str
    reason: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    retry: float = 0.0


class EnrolmentError(Exception):
    """It did not work; the sentence says what to do. refusal: None if nobody was asked."""

    def __init__(self, sentence: str, refusal: Refusal | None = None) -> None:
        super().__init__(sentence)
        self.refusal = refusal

    @property
    def reason(self) -> str:
        """Of ErrorInfo, or empty."""
        return self.refusal.reason if self.refusal else ""


class Certified(Protocol):
    """Whoever has a certificate: PEM, all of it."""

    @property
    def key(self) -> bytes: ...
    @property
    def chain(self) -> bytes: ...
    @property
    def roots(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Joining:
    """roots: whom to believe, PEM. key: of who joins, PEM. token: without its pin."""

    controller: str
    roots: bytes
    key: bytes = field(repr=False)
    token: str = field(repr=False)


def token_parts(text: str) -> tuple[str, bytes]:
    """What is sent, and the pin, which is empty if the token has none. Raises ValueError."""
    match = _TOKEN.fullmatch(text.strip())
    if match is None:
        raise ValueError("this is no token: expected cordon1.ID.SECRET.PIN")
    sent, pin = match.groups()
    return sent, base64.urlsafe_b64decode(pin + "=") if pin else b""


def endpoint(text: str) -> tuple[str, int]:
    """Host and port of HOST:PORT or [ADDRESS]:PORT. Raises EnrolmentError."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65_535:
        raise EnrolmentError(f"{text!r} is no controller: expected HOST:PORT or [ADDRESS]:PORT")
    return host, int(port)


def authority_by_pin(controller: str, pin: bytes) -> bytes:
    """The root with this hash of its public key, PEM, out of the chain that the port shows.

    Raises EnrolmentError.
    """
    host, port = endpoint(controller)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    try:
        with (
            create_connection((host, port), DEADLINE_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host) as wrapped,
        ):
            shown = wrapped._sslobj.get_unverified_chain()  # type: ignore[attr-defined] # public in 3.13
            chain = [one.public_bytes().encode() for one in shown[:MAX_CHAIN]]
    except OSError as error:  # ssl.SSLError is one
        raise EnrolmentError(f"controller {controller} cannot be reached: {error}") from None
    for pem in chain:
        if hmac.compare_digest(_pin(x509.load_pem_x509_certificate(pem)), pin):
            return pem
    raise EnrolmentError(
        f"controller {controller} does not show the authority that the token was made by: it is of "
        "another fleet, or somebody stands in between; the token was not sent"
    )


def _pin(certificate: x509.Certificate) -> bytes:
    public = certificate.public_key()
    return hashlib.sha256(
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).digest()


def enrol(joining: Joining, name: str, facts: pb.HostFacts) -> pb.EnrolResponse:
    """Raises EnrolmentError."""
    request = pb.EnrolRequest(
        token=joining.token, csr=csr_of(joining.key), host_name=name, facts=facts
    )
    credentials = grpc.ssl_channel_credentials(joining.roots)
    with grpc.secure_channel(joining.controller, credentials, _OPTIONS) as channel:
        try:
            return enrolment_pb2_grpc.EnrolmentServiceStub(channel).Enrol(
                request, timeout=DEADLINE_SECONDS
            )
        except grpc.RpcError as error:
            raise failure(joining.controller, error) from None


def login(joining: Joining) -> pb.LoginResponse:
    """Raises EnrolmentError."""
    request = pb.LoginRequest(token=joining.token, csr=csr_of(joining.key))
    credentials = grpc.ssl_channel_credentials(joining.roots)
    with grpc.secure_channel(joining.controller, credentials, _OPTIONS) as channel:
        try:
            return enrolment_pb2_grpc.EnrolmentServiceStub(channel).Login(
                request, timeout=DEADLINE_SECONDS
            )
        except grpc.RpcError as error:
            raise failure(joining.controller, error) from None


def renew(controller: str, identity: Certified, key: bytes) -> pb.RenewResponse:
    """key: the next one, PEM. Raises EnrolmentError."""
    with grpc.secure_channel(controller, credentials_of(identity), _OPTIONS) as channel:
        try:
            return enrolment_pb2_grpc.EnrolmentServiceStub(channel).Renew(
                pb.RenewRequest(csr=csr_of(key)), timeout=DEADLINE_SECONDS
            )
        except grpc.RpcError as error:
            raise failure(controller, error) from None


def credentials_of(identity: Certified) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(identity.roots, identity.key, identity.chain)


def failure(controller: str, error: grpc.RpcError) -> EnrolmentError:
    refusal = refusal_of(error)
    code = refusal.code.name
    named = f"{code}/{refusal.reason}" if refusal.reason else code
    return EnrolmentError(f"controller {controller} refuses: {named}: {refusal.text}", refusal)


def details_of(error: grpc.RpcError) -> tuple[str, float]:
    """The reason of ErrorInfo, and RetryInfo's seconds; empty and 0 where there is none."""
    refusal = refusal_of(error)
    return refusal.reason, refusal.retry


def refusal_of(error: grpc.RpcError) -> Refusal:
    """With what ErrorInfo and RetryInfo say, where they are there."""
    try:
        status = rpc_status.from_call(error)
    except ValueError:
        status = None
    reason, retry, metadata = "", 0.0, {}
    for detail in status.details if status else ():
        info, delay = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            reason, metadata = str(info.reason), dict(info.metadata)
        elif detail.Unpack(delay):
            retry = delay.retry_delay.seconds + delay.retry_delay.nanos / 1e9
    return Refusal(error.code(), error.details() or "", reason, metadata, retry)
