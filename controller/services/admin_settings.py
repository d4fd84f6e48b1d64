# SPDX-License-Identifier: Apache-2.0
"""What holds for the whole fleet, and who is cut off from it for a while."""

from __future__ import annotations

from dataclasses import asdict, replace

from agent.pb import admin_pb2 as pb
from controller import bounds
from controller.bounds import OutOfBounds
from controller.records import FleetSettings, QuarantineRow, Target
from controller.services.admin_calls import Calls, Reasons, now, person, within_bounds
from controller.services.callers import Code, Context, refuse
from controller.storage import Refused

_YEAR = 366 * 86_400
_MONTH = 30 * 86_400
_BOUNDS = {
    "epoch_seconds": (60, _MONTH),
    "epochs_ahead": (1, 14),
    "validity_seconds": (600, 365 * 86_400),
    "lease_seconds": (60, _MONTH),
    "confirm_seconds": (1, 300),
    "certificate_seconds": (600, _MONTH),
    "hold_limit_ms": (10, 60_000),
    "refusal_events_per_second": (1, 100_000),
}
"""The last two as inventories have them."""
_MANY: Reasons = {Refused: (Code.FAILED_PRECONDITION, "TOO_MANY")}


class SettingsCalls(Calls):
    """Part of `AdminService`."""

    async def GetSettings(
        self, request: pb.GetSettingsRequest, context: Context
    ) -> pb.GetSettingsResponse:
        await self._enter(context, "GetSettings")
        settings = await self._ask(context, self._storage.settings)
        return pb.GetSettingsResponse(settings=_settings(settings))

    async def UpdateSettings(
        self, request: pb.UpdateSettingsRequest, context: Context
    ) -> pb.UpdateSettingsResponse:
        who = await self._enter(context, "UpdateSettings")
        async with within_bounds(context):
            why = bounds.why(request.why)
            asked = {name: getattr(request.settings, name) for name in _BOUNDS}
            wanted = {
                name: bounds.number(value, *_BOUNDS[name], name)
                for name, value in asked.items()
                if value
            }
        base = await self._ask(context, self._storage.settings)
        settings = replace(base, **wanted)
        update = self._storage.update_settings
        version = await self._ask(context, update, settings, who.actor, why, now(), base)
        return pb.UpdateSettingsResponse(settings=_settings(settings), version=version)

    async def Quarantine(
        self, request: pb.QuarantineRequest, context: Context
    ) -> pb.QuarantineResponse:
        who = await self._enter(context, "Quarantine", request.host or request.workload)
        moment = now()
        async with within_bounds(context):
            target, why = _target(request), bounds.why(request.why)
            until = bounds.number(request.until, moment + 1, moment + _YEAR, "until")
        await self._known_workload(context, target)
        put = self._storage.set_quarantine
        version = await self._change(context, put, who.actor, why, target, until, reasons=_MANY)
        return pb.QuarantineResponse(version=version)

    async def _known_workload(self, context: Context, target: Target) -> None:
        """Of a host the store knows itself, and in the transaction of the change."""
        name = target.workload
        known = self._storage.has_document
        if name and not await self._ask(context, known, "Workload", name):
            sentence = f"there is no Workload {name!r}"
            await refuse(context, Code.NOT_FOUND, "UNKNOWN", sentence)

    async def LiftQuarantine(
        self, request: pb.LiftQuarantineRequest, context: Context
    ) -> pb.LiftQuarantineResponse:
        who = await self._enter(context, "LiftQuarantine", request.host or request.workload)
        async with within_bounds(context):
            target, why = _target(request), bounds.why(request.why)
        lift = self._storage.set_quarantine
        version = await self._change(context, lift, who.actor, why, target, None)
        return pb.LiftQuarantineResponse(version=version)

    async def ListQuarantines(
        self, request: pb.ListQuarantinesRequest, context: Context
    ) -> pb.ListQuarantinesResponse:
        await self._enter(context, "ListQuarantines")
        rows = await self._ask(context, self._storage.quarantines)
        moment = now()
        shown = [_quarantine(row) for row in rows if row.until > moment]
        return pb.ListQuarantinesResponse(quarantines=shown)


def _target(request: pb.QuarantineRequest | pb.LiftQuarantineRequest) -> Target:
    """Raises OutOfBounds."""
    match request.WhichOneof("target"):
        case "host":
            return Target(host=bounds.name(request.host, "host"))
        case "workload":
            return Target(workload=bounds.name(request.workload, "workload"))
    raise OutOfBounds("expected a host or a workload")


def _settings(settings: FleetSettings) -> pb.FleetSettings:
    return pb.FleetSettings(**asdict(settings))


def _quarantine(row: QuarantineRow) -> pb.QuarantineEntry:
    return pb.QuarantineEntry(
        host=row.target.host or None,
        workload=row.target.workload or None,
        until=row.until,
        who=person(row.who),
        why=row.why,
        since=row.since,
    )
