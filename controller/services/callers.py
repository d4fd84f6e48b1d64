# SPDX-License-Identifier: Apache-2.0
"""Who calls, and how somebody is refused: the same words for every service.

grpc has checked the chain and the times of the certificate when the connection was made; that it
holds still and was not revoked, nobody has but `admitted`. Errors of the store become statuses here
and nowhere else.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar
from urllib.parse import unquote

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from agent.edge import clock
from controller import spiffe
from controller.access_records import Revoked, Role
from controller.records import Actor
from controller.services import metrics
from controller.spiffe import Kind
from controller.storage import FleetStorage, StorageError, Unavailable

T = TypeVar("T")
DOMAIN = "cordon"
Context = grpc.aio.ServicerContext[Any, Any]
Code = grpc.StatusCode


class Unidentified(Exception):
    """The connection shows no certificate of ours; the sentence says what was expected."""


@dataclass(frozen=True, slots=True)
class Caller:
    """issued, expires: of the certificate, unix seconds. role: of administrators."""

    kind: Kind
    name: str
    role: Role | None
    spiffe_id: str
    serial: int
    issued: int
    expires: int
    address: str

    @property
    def actor(self) -> Actor:
        return Actor(self.spiffe_id, self.address)


def caller(context: Context) -> Caller:
    """As the certificate says, revoked or not. Raises Unidentified."""
    shown = next(iter(context.auth_context().get("x509_pem_cert", ())), None)
    if shown is None:
        raise Unidentified("expected a client's certificate, the connection shows none")
    certificate = x509.load_pem_x509_certificate(shown)
    if not isinstance(certificate.signature_hash_algorithm, hashes.SHA256):
        # Measured: grpc's TLS takes SHA-1. We sign with SHA-256 alone, so this is none of ours.
        raise Unidentified("expected a certificate that is signed with SHA-256")
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        (uri,) = names.value.get_values_for_type(x509.UniformResourceIdentifier)
        subject = spiffe.parse(uri)
    except (x509.ExtensionNotFound, ValueError) as error:
        raise Unidentified("expected a certificate with one SPIFFE ID of this fleet") from error
    return Caller(
        kind=subject.kind,
        name=subject.name,
        role=subject.role,
        spiffe_id=uri,
        serial=certificate.serial_number,
        issued=int(certificate.not_valid_before_utc.timestamp()),
        expires=int(certificate.not_valid_after_utc.timestamp()),
        address=peer_address(context),
    )


def peer_address(context: Context) -> str:
    """Without the port; empty for what is no address."""
    kind, _, rest = unquote(context.peer()).partition(":")
    host = rest.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        return str(ipaddress.ip_address(host)) if kind in ("ipv4", "ipv6") else ""
    except ValueError:
        return ""


def is_revoked(who: Caller, revoked: Revoked) -> bool:
    """By certificate, or by name for an administrator."""
    if who.serial in revoked.serials:
        return True
    return who.kind is Kind.ADMINISTRATOR and who.name in revoked.administrators


async def admitted(context: Context, storage: FleetStorage, *kinds: Kind) -> Caller:
    """The caller, if it is of one of `kinds` and not revoked; else the call ends here."""
    who = await identified(context, *kinds)
    if is_revoked(who, await stored(context, storage.revoked)):
        await refuse_revoked(context, who)
    return who


async def identified(context: Context, *kinds: Kind) -> Caller:
    """As `admitted`, for those who know by themselves who was revoked."""
    try:
        who = caller(context)
    except Unidentified as error:
        await refuse(context, Code.UNAUTHENTICATED, "NO_CERTIFICATE", str(error))
    if who.kind not in kinds:
        wanted = " or ".join(kind.value for kind in kinds)
        sentence = f"expected a certificate of {wanted}, got that of {who.spiffe_id}"
        await refuse(context, Code.UNAUTHENTICATED, "WRONG_KIND", sentence)
    if has_ended(who):
        await refuse_ended(context, who)
    return who


def has_ended(who: Caller) -> bool:
    """A connection outlives the certificate that it was made with; grpc looks at it once."""
    return clock.unix_seconds() >= who.expires


async def refuse_ended(context: Context, who: Caller) -> NoReturn:
    sentence = f"the certificate of {who.spiffe_id} has ended; connect with a new one"
    await refuse(context, Code.UNAUTHENTICATED, "NO_CERTIFICATE", sentence)


async def refuse_revoked(context: Context, who: Caller) -> NoReturn:
    sentence = f"{who.spiffe_id} was revoked; only a new token helps"
    await refuse(context, Code.PERMISSION_DENIED, "REVOKED", sentence)


async def stored(context: Context, method: Callable[..., T], *arguments: Any) -> T:
    """A method of the store, in a thread; the call ends here if the database does not answer."""
    try:
        return await asyncio.to_thread(method, *arguments)
    except Unavailable as error:
        await refuse_storage(context, error)


async def refuse_storage(context: Context, error: StorageError) -> NoReturn:
    """For what is not the caller's fault. Its text goes to people who may see it."""
    retry = 1.0 if isinstance(error, Unavailable) else None
    await refuse(context, Code.UNAVAILABLE, "STORE", str(error), retry)


async def refuse(
    context: Context,
    code: grpc.StatusCode,
    reason: str,
    sentence: str,
    retry: float | None = None,
    **details: str,
) -> NoReturn:
    """End the call. retry: seconds after which it may be worth trying again."""
    metrics.refusals.labels(reason).inc()
    info = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=details)
    packed = [_packed(info)]
    if retry is not None:
        delay = duration_pb2.Duration(seconds=int(retry), nanos=int(retry % 1 * 1e9))
        packed.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    status = status_pb2.Status(code=code.value[0], message=sentence, details=packed)
    metadata = (("grpc-status-details-bin", status.SerializeToString()),)
    await context.abort(code, sentence, metadata)


def _packed(message: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
