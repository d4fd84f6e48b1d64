# SPDX-License-Identifier: Apache-2.0
"""Joining and renewing: the agent's calls of `EnrolmentService`.

The first connection is already authenticated: the token carries the hash of the authority's public
key, and of the chain that the port shows only a root with that key is trusted for the channel that
carries the token's secret. The hash itself stays on the host.
"""

from __future__ import annotations

import hashlib
import hmac
import ssl
from dataclasses import dataclass
from socket import create_connection

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from agent.edge.identity_files import Identity, csr_of
from agent.pb import enrolment_pb2 as pb
from agent.pb import enrolment_pb2_grpc

DEADLINE_SECONDS = 30.0
MAX_CHAIN = 8
_OPTIONS = (("grpc.use_local_subchannel_pool", 1),)


class EnrolmentError(Exception):
    """It did not work; the sentence says what to do. reason: of ErrorInfo, or empty."""

    def __init__(self, sentence: str, reason: str = "") -> None:
        super().__init__(sentence)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Joining:
    """roots: whom to believe, PEM. key: the host's, PEM. token: without its pin."""

    controller: str
    roots: bytes
    key: bytes
    token: str


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


def renew(controller: str, identity: Identity, key: bytes) -> pb.RenewResponse:
    """key: the next one, PEM. Raises EnrolmentError."""
    with grpc.secure_channel(controller, credentials_of(identity), _OPTIONS) as channel:
        try:
            return enrolment_pb2_grpc.EnrolmentServiceStub(channel).Renew(
                pb.RenewRequest(csr=csr_of(key)), timeout=DEADLINE_SECONDS
            )
        except grpc.RpcError as error:
            raise failure(controller, error) from None


def credentials_of(identity: Identity) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(identity.roots, identity.key, identity.chain)


def failure(controller: str, error: grpc.RpcError) -> EnrolmentError:
    reason, _ = details_of(error)
    code, text = error.code().name, error.details() or ""
    named = f"{code}/{reason}" if reason else code
    return EnrolmentError(f"controller {controller} refuses: {named}: {text}", reason)


def details_of(error: grpc.RpcError) -> tuple[str, float]:
    """The reason of ErrorInfo, and RetryInfo's seconds; empty and 0 where there is none."""
    try:
        status = rpc_status.from_call(error)
    except ValueError:
        status = None
    reason, retry = "", 0.0
    for detail in status.details if status else ():
        info, delay = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            reason = str(info.reason)
        elif detail.Unpack(delay):
            retry = delay.retry_delay.seconds + delay.retry_delay.nanos / 1e9
    return reason, retry
