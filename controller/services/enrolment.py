# SPDX-License-Identifier: Apache-2.0
"""`EnrolmentService` in two halves: joining on the port for strangers, renewing on the main one.

What a stranger is told about a token is one word for everything. No secret is logged: neither a
token's nor a key's, at no level.
"""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import dataclass, replace
from typing import NoReturn

from agent.core.model import IPAddress
from agent.edge import clock, logs
from agent.pb import enrolment_pb2 as pb
from agent.pb import enrolment_pb2_grpc
from controller import addressing, ca, tokens
from controller.access_records import (
    AdministratorGrant,
    HostGrant,
    Joining,
    Role,
    TokenRow,
)
from controller.ca import PublicKey
from controller.records import Actor, HostRow
from controller.services import metrics
from controller.services.callers import (
    Caller,
    Code,
    Context,
    admitted,
    peer_address,
    refuse,
    refuse_revoked,
    refuse_storage,
    stored,
)
from controller.services.issuing import Grant, Issued, Issuer
from controller.services.limits import JoinLimits, RenewLimits
from controller.spiffe import Kind, Subject
from controller.storage import Conflict, HostExists, Refused, Storage, StorageError, TokenSpent

MAX_FACT_BYTES = 64
_CLAIMS = 3
"""Times that an address may be lost to somebody else while a host enrols."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was found good: the token's row and the key that the certificate is for."""

    token: TokenRow
    key: PublicKey
    digest: bytes
    address: str


class JoiningServicer(enrolment_pb2_grpc.EnrolmentServiceServicer):
    """Enrol and Login."""

    def __init__(self, storage: Storage, issuer: Issuer, controllers: tuple[str, ...]) -> None:
        self._storage = storage
        self._issuer = issuer
        self._controllers = controllers
        self._limits = JoinLimits()

    async def Enrol(self, request: pb.EnrolRequest, context: Context) -> pb.EnrolResponse:
        asked = await self._asked(context, request.token, request.csr)
        grant = asked.token.grant
        if not isinstance(grant, HostGrant):
            await self._refuse_token(context, asked.address)
        if request.host_name not in ("", grant.name):
            await refuse(
                context, Code.PERMISSION_DENIED, "NAME_NOT_GRANTED", "the token is for another name"
            )
        host = await self._enrol(context, asked, grant, request.facts)
        issued = await self._issue(context, asked.key, await self._host_grant(context, host))
        metrics.certificates.labels("Enrol").inc()
        logs.write("info", "host enrolled", [("host", host.name), ("number", host.number),
                   ("from", asked.address), ("token", asked.token.id)])  # fmt: skip
        return pb.EnrolResponse(
            host_name=host.name,
            host=host.number,
            trust_domain=self._issuer.trust_domain,
            credentials=issued.message(),
            policy_keys=self._issuer.policy_keys,
            controllers=self._controllers,
        )

    async def Login(self, request: pb.LoginRequest, context: Context) -> pb.LoginResponse:
        asked = await self._asked(context, request.token, request.csr)
        grant = asked.token.grant
        if not isinstance(grant, AdministratorGrant):
            await self._refuse_token(context, asked.address)
        subject = self._subject(Kind.ADMINISTRATOR, grant.name, grant.role)
        actor = Actor(str(subject), asked.address)
        now = int(clock.unix_seconds())
        try:
            await stored(context, self._storage.login, asked.token.id, asked.digest, actor, now)
        except TokenSpent:
            await self._refuse_token(context, asked.address)
        issued = await self._issue(context, asked.key, Grant(subject, grant.certificate_seconds))
        metrics.certificates.labels("Login").inc()
        logs.write("info", "administrator logged in", [("name", grant.name),
                   ("role", grant.role.name.lower()), ("from", asked.address)])  # fmt: skip
        return pb.LoginResponse(
            name=grant.name,
            role=grant.role.name.lower(),
            trust_domain=self._issuer.trust_domain,
            credentials=issued.message(),
            controllers=self._controllers,
        )

    async def Renew(self, request: pb.RenewRequest, context: Context) -> pb.RenewResponse:
        await context.abort(Code.UNIMPLEMENTED, "Renew is served by the main port")

    async def _asked(self, context: Context, token: str, csr: bytes) -> Asked:
        address = peer_address(context)
        if wait := self._limits.attempt(address):
            await _refuse_rate(context, wait)
        key = await _key(context, csr)
        parts = tokens.parse(token)
        if parts is None:
            await self._refuse_token(context, address)
        now = int(clock.unix_seconds())
        row = await stored(context, self._storage.token, parts.id, now)
        if not tokens.matches(parts, row, now) or row is None:
            await self._refuse_token(context, address)
        return Asked(row, key, ca.key_digest(key), address)

    async def _refuse_token(self, context: Context, address: str) -> NoReturn:
        self._limits.failed(address)
        logs.write("warning", "a token was refused", [("from", address)])
        sentence = "the token is not good: unknown, used, expired or revoked"
        await refuse(context, Code.UNAUTHENTICATED, "TOKEN_INVALID", sentence)

    async def _enrol(
        self, context: Context, asked: Asked, grant: HostGrant, facts: pb.HostFacts
    ) -> HostRow:
        joining = Joining(
            key_digest=asked.digest,
            addresses=(),
            facts=await _checked_facts(context, facts),
            at=int(clock.unix_seconds()),
        )
        actor = Actor(str(self._subject(Kind.HOST, grant.name)), asked.address)
        try:
            return await self._claim_and_enrol(asked.token.id, joining, grant, facts, actor)
        except TokenSpent:
            await self._refuse_token(context, asked.address)
        except HostExists as error:
            await refuse(context, Code.ALREADY_EXISTS, "HOST_EXISTS", str(error))
        except Conflict as error:
            await refuse(context, Code.FAILED_PRECONDITION, "ADDRESS_TAKEN", str(error))
        except StorageError as error:
            await refuse_storage(context, error)

    async def _claim_and_enrol(
        self,
        token_id: str,
        joining: Joining,
        grant: HostGrant,
        facts: pb.HostFacts,
        actor: Actor,
    ) -> HostRow:
        """Raises what `EnrolmentStorage.enrol` raises."""
        reported = [address for raw in facts.addresses if (address := _address(raw))]
        for attempt in range(1, _CLAIMS + 1):
            taken = await asyncio.to_thread(self._storage.taken, reported)
            claimed = addressing.claim_within(grant.name, grant.networks, reported, taken)
            good = replace(joining, addresses=claimed.addresses)
            try:
                return await asyncio.to_thread(self._storage.enrol, token_id, good, actor)
            except Conflict:
                if attempt == _CLAIMS or grant.addresses:
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def _host_grant(self, context: Context, host: HostRow) -> Grant:
        settings = await stored(context, self._storage.settings)
        subject = self._subject(Kind.HOST, host.name)
        return Grant(subject, settings.certificate_seconds, host.number)

    def _subject(self, kind: Kind, name: str, role: Role | None = None) -> Subject:
        return Subject(self._issuer.trust_domain, kind, name, role)

    async def _issue(self, context: Context, key: PublicKey, grant: Grant) -> Issued:
        return await issue(context, self._issuer, key, grant)


class RenewingServicer(enrolment_pb2_grpc.EnrolmentServiceServicer):
    """Renew: whoever is there stays there, and becomes nothing else."""

    def __init__(self, storage: Storage, issuer: Issuer, controllers: tuple[str, ...]) -> None:
        self._storage = storage
        self._issuer = issuer
        self._controllers = controllers
        self._limits = RenewLimits()

    async def Enrol(self, request: pb.EnrolRequest, context: Context) -> pb.EnrolResponse:
        await context.abort(Code.UNIMPLEMENTED, "Enrol is served by the enrolment port")

    async def Login(self, request: pb.LoginRequest, context: Context) -> pb.LoginResponse:
        await context.abort(Code.UNIMPLEMENTED, "Login is served by the enrolment port")

    async def Renew(self, request: pb.RenewRequest, context: Context) -> pb.RenewResponse:
        who = await admitted(context, self._storage, Kind.HOST, Kind.ADMINISTRATOR)
        if wait := self._limits.attempt(who.spiffe_id):
            await _refuse_rate(context, wait)
        key = await _key(context, request.csr)
        issued = await issue(context, self._issuer, key, await self._grant(context, who), who)
        metrics.certificates.labels("Renew").inc()
        is_host = who.kind is Kind.HOST
        return pb.RenewResponse(
            credentials=issued.message(),
            policy_keys=self._issuer.policy_keys if is_host else None,
            controllers=self._controllers,
        )

    async def _grant(self, context: Context, who: Caller) -> Grant:
        subject = Subject(self._issuer.trust_domain, who.kind, who.name, who.role)
        if who.kind is Kind.ADMINISTRATOR:  # as long as the one before, less what it was backdated
            return Grant(subject, who.expires - who.issued - ca.BACKDATED_SECONDS)
        host = await stored(context, self._storage.host, who.name)
        if host is None or host.revoked:
            await refuse_revoked(context, who)
        settings = await stored(context, self._storage.settings)
        return Grant(subject, settings.certificate_seconds, host.number)


async def issue(
    context: Context, issuer: Issuer, key: PublicKey, grant: Grant, who: Caller | None = None
) -> Issued:
    """The call ends here for somebody who was revoked meanwhile."""
    try:
        return await issuer.issue(key, grant)
    except Refused as error:
        if who:
            await refuse_revoked(context, who)
        await refuse(context, Code.PERMISSION_DENIED, "REVOKED", str(error))
    except StorageError as error:
        await refuse_storage(context, error)


async def _key(context: Context, csr: bytes) -> PublicKey:
    try:
        return ca.read_csr(csr)
    except ca.CsrRefused as error:
        await refuse(context, Code.INVALID_ARGUMENT, "CSR_INVALID", str(error))


async def _refuse_rate(context: Context, wait: float) -> NoReturn:
    sentence = f"too many attempts; try again in {wait:.0f} s"
    await refuse(context, Code.RESOURCE_EXHAUSTED, "RATE_LIMITED", sentence, wait)


async def _checked_facts(context: Context, facts: pb.HostFacts) -> bytes:
    texts = (facts.agent_version, facts.kernel, facts.os, facts.architecture)
    good = (
        all(len(text.encode()) <= MAX_FACT_BYTES for text in texts)
        and len(facts.machine_id) in (0, 16)
        and len(facts.addresses) <= addressing.MAX_ADDRESSES
        and all(_address(raw) for raw in facts.addresses)
    )
    if not good:
        sentence = "expected facts within the bounds that the contract names"
        await refuse(context, Code.INVALID_ARGUMENT, "BOUNDS", sentence)
    return facts.SerializeToString(deterministic=True)


def _address(raw: bytes) -> IPAddress | None:
    return ipaddress.ip_address(raw) if len(raw) in (4, 16) else None
