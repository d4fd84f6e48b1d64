# SPDX-License-Identifier: Apache-2.0
"""Who gets in, by administrators: tokens, and administrators themselves. No secret is logged."""

from __future__ import annotations

import secrets
from typing import cast

from agent.pb import admin_pb2 as pb
from agent.version import VERSION
from controller import bounds, tokens
from controller.access_records import (
    AdministratorGrant,
    AdministratorRow,
    HostGrant,
    NewToken,
    Role,
    TokenRow,
)
from controller.bounds import OutOfBounds
from controller.services.admin_calls import Calls, Reasons, now, person, within_bounds
from controller.services.admin_pages import shrunk
from controller.services.callers import Code, Context, refuse
from controller.storage import Refused

TTL_SECONDS = 15 * 60
CERTIFICATE_SECONDS = 8 * 3600
_DAY = 86_400
_KEPT_SECONDS = 30 * _DAY
_SPENT: Reasons = {Refused: (Code.FAILED_PRECONDITION, "TOKEN_SPENT")}
_LAST: Reasons = {Refused: (Code.FAILED_PRECONDITION, "LAST_OPERATOR")}


class TokenCalls(Calls):
    """Part of `AdminService`."""

    async def Whoami(self, request: pb.WhoamiRequest, context: Context) -> pb.WhoamiResponse:
        who = await self._enter(context, "Whoami")
        assert who.role is not None, "it was let in"
        return pb.WhoamiResponse(
            name=who.name,
            role=role(who.role),
            trust_domain=self._tools.issuer.trust_domain,
            expires=who.expires,
            controller=self._tools.config.name,
            controller_version=VERSION,
        )

    async def CreateToken(
        self, request: pb.CreateTokenRequest, context: Context
    ) -> pb.CreateTokenResponse:
        name = request.host.name or request.administrator.name
        who = await self._enter(context, "CreateToken", name)
        async with within_bounds(context):
            grant = _grant(request)
            ttl = bounds.number(request.ttl_seconds or TTL_SECONDS, 60, _DAY, "ttl_seconds")
            why = bounds.why(request.why, required=False)
        if isinstance(grant, HostGrant):
            row = await self._ask(context, self._storage.host, grant.name)
            before = row.labels if row is not None and not row.revoked else {}
            await self._refuse_ties(context, grant.name, before, grant.labels)
        random = secrets.token_bytes(tokens.RANDOM_BYTES)
        text, id_, secret_hash = tokens.new_token(random, self._tools.issuer.pin)
        token = NewToken(id_, secret_hash, grant, now() + ttl)
        made = await self._change(context, self._storage.create_token, who.actor, why, token)
        return pb.CreateTokenResponse(token=text, info=_token(made))

    async def ListTokens(
        self, request: pb.ListTokensRequest, context: Context
    ) -> pb.ListTokensResponse:
        await self._enter(context, "ListTokens")
        async with within_bounds(context):
            page = bounds.page(request.page_size, request.page_token)

        async def answer(size: int) -> pb.ListTokensResponse:
            found = await self._ask(context, self._storage.tokens, page.of(size), now())
            return pb.ListTokensResponse(
                tokens=map(_token, found.items), next_page_token=found.next
            )

        return await shrunk(page.size, answer)

    async def RevokeToken(
        self, request: pb.RevokeTokenRequest, context: Context
    ) -> pb.RevokeTokenResponse:
        who = await self._enter(context, "RevokeToken", request.id)
        async with within_bounds(context):
            why = bounds.why(request.why, required=False)
        if not tokens.is_id(request.id):
            await refuse(context, Code.NOT_FOUND, "UNKNOWN", "expected the ID part of a token")
        revoke = self._storage.revoke_token
        await self._change(context, revoke, who.actor, why, request.id, reasons=_SPENT)
        return pb.RevokeTokenResponse()

    async def ListAdministrators(
        self, request: pb.ListAdministratorsRequest, context: Context
    ) -> pb.ListAdministratorsResponse:
        await self._enter(context, "ListAdministrators")
        rows = await self._ask(context, self._storage.administrators)
        oldest = now() - _KEPT_SECONDS
        shown = (_administrator(row) for row in rows if row.expires >= oldest)
        return pb.ListAdministratorsResponse(administrators=shown)

    async def RevokeAdministrator(
        self, request: pb.RevokeAdministratorRequest, context: Context
    ) -> pb.RevokeAdministratorResponse:
        who = await self._enter(context, "RevokeAdministrator", request.name)
        async with within_bounds(context):
            name = bounds.name(request.name, "name")
            why = bounds.why(request.why)
        revoke = self._storage.revoke_administrator
        await self._change(context, revoke, who.actor, why, name, reasons=_LAST)
        return pb.RevokeAdministratorResponse()


def _grant(request: pb.CreateTokenRequest) -> HostGrant | AdministratorGrant:
    """Raises OutOfBounds."""
    kind = request.WhichOneof("grant")
    if kind == "host":
        host = request.host
        return HostGrant(
            name=bounds.name(host.name, "host.name"),
            labels=bounds.labels(host.labels),
            networks=bounds.networks(host.networks),
            addresses=bounds.addresses(host.addresses),
            replace=host.replace,
        )
    if kind == "administrator":
        asked = request.administrator
        seconds = asked.certificate_seconds or CERTIFICATE_SECONDS
        return AdministratorGrant(
            name=bounds.name(asked.name, "administrator.name"),
            role=_role(asked.role),
            certificate_seconds=bounds.number(seconds, 300, _DAY, "certificate_seconds"),
        )
    raise OutOfBounds("expected a grant for a host or for an administrator")


def role(value: Role) -> pb.Role:
    """Numbers are the contract's."""
    return cast(pb.Role, int(value))


def _role(value: int) -> Role:
    try:
        return Role(value)
    except ValueError:
        raise OutOfBounds("administrator.role: expected viewer, editor or operator") from None


def _token(row: TokenRow) -> pb.Token:
    host = administrator = None
    match row.grant:
        case HostGrant() as grant:
            host = pb.HostGrant(
                name=grant.name,
                labels=grant.labels,
                networks=map(str, grant.networks),
                addresses=map(str, grant.addresses),
                replace=grant.replace,
            )
        case AdministratorGrant() as asked:
            administrator = pb.AdministratorGrant(
                name=asked.name,
                role=role(asked.role),
                certificate_seconds=asked.certificate_seconds,
            )
    return pb.Token(
        id=row.id,
        host=host,
        administrator=administrator,
        state=row.state.value,
        created=row.created,
        expires=row.expires,
        created_by=person(row.created_by),
        used=row.used,
        used_from=row.used_from,
    )


def _administrator(row: AdministratorRow) -> pb.Administrator:
    return pb.Administrator(
        name=row.name,
        role=role(row.role),
        expires=row.expires,
        revoked=row.revoked,
        last_seen=row.seen,
    )
