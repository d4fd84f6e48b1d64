# SPDX-License-Identifier: Apache-2.0
"""How a controller's refusal reads, and with which exit status the command ends. Pure.

The controller's own sentence comes first, for it knows the names; what to do is added here. The
codes of the protocol are not shown: they say nothing to people, and programs have exit statuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import grpc

from agent.cli.output import Exit
from agent.edge.enrolment_client import Refusal

Code = grpc.StatusCode

_READING = ("Whoami", "List", "Get", "Diff", "Explain", "Watch")
"""Beginnings of the names of methods that change nothing."""


@dataclass(frozen=True, slots=True)
class Call:
    """What was asked of whom. deadline: seconds, None for a stream without one."""

    controller: str
    method: str
    deadline: float | None = None

    @property
    def changes(self) -> bool:
        return not self.method.startswith(_READING)


@dataclass(frozen=True, slots=True)
class Told:
    sentence: str
    status: Exit


LOGIN_AGAIN = "log in anew with a token from an operator: `cordonctl login`"

ADVICE: Mapping[str, tuple[Exit, str]] = {
    "ROLE_TOO_LOW": (
        Exit.NOT_PERMITTED,
        "ask an operator for a login token of the role {needed}",
    ),
    "REVOKED": (Exit.NOT_PERMITTED, LOGIN_AGAIN),
    "NO_CERTIFICATE": (Exit.NOT_PERMITTED, LOGIN_AGAIN),
    "WRONG_KIND": (Exit.NOT_PERMITTED, LOGIN_AGAIN),
    "TOKEN_INVALID": (
        Exit.NOT_PERMITTED,
        "ask an operator for another one, or run `cordon-controller token` on the controller's "
        "machine",
    ),
    "UNKNOWN": (Exit.REFUSED, "`cordonctl {lists}` shows what there is"),
    "CONFLICT": (
        Exit.REFUSED,
        "look at `cordonctl history` and `diff`, then try again with what has become of it",
    ),
    "LAST_OPERATOR": (
        Exit.REFUSED,
        "`cordonctl token create --admin NAME --role operator` makes a token for one",
    ),
    "TOO_MANY": (Exit.REFUSED, "lift one first: `cordonctl quarantine list`"),
    "HOST_EXISTS": (Exit.REFUSED, "revoke the host, or replace it: --replace"),
    "ADDRESS_TAKEN": (Exit.REFUSED, "see which host has it: `cordonctl hosts list`"),
    "TIE": (Exit.REFUSED, "`cordonctl get workload` shows both"),
    "BOUNDS": (Exit.BAD_INPUT, ""),
    "CSR_INVALID": (Exit.REFUSED, "controller and cordonctl are of versions that do not go well"),
    "RATE_LIMITED": (Exit.UNREACHABLE, "too many attempts came from here: wait{retry}"),
    "STORE": (Exit.UNREACHABLE, "its database does not answer, and nothing was changed"),
}


LISTS: Mapping[str, str] = {
    "DeleteDocuments": "get",
    "Explain": "get workload",
    "GetDocuments": "get",
    "LiftQuarantine": "quarantine list",
    "RevokeAdministrator": "admins list",
    "RevokeToken": "token list",
    "Rollback": "history",
    "WatchRollout": "history",
}
"""What shows the names that a method takes; `hosts list` for the others."""


def told(refusal: Refusal, call: Call) -> Told:
    """The sentence about a call that failed, and the exit status."""
    known = ADVICE.get(refusal.reason)
    if known is None:
        return _without_reason(refusal, call)
    status, advice = known
    if (call.method, refusal.reason) == ("Explain", "UNKNOWN"):
        status = Exit.BAD_INPUT  # 1 is what `explain` says of a connection
    said = f"controller {call.controller}: {_text(refusal)}"
    return Told(_joined(said, _filled(advice, refusal, call)), status)


def _text(refusal: Refusal) -> str:
    return refusal.text.rstrip(".") or refusal.reason.lower().replace("_", " ")


def _filled(advice: str, refusal: Refusal, call: Call) -> str:
    return advice.format(
        lists=LISTS.get(call.method, "hosts list"),
        needed=refusal.details.get("needed") or "that it takes",
        retry=f" {refusal.retry:.0f} s" if refusal.retry >= 1 else "",
    )


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _without_reason(refusal: Refusal, call: Call) -> Told:
    """For what no service of ours said: grpc did, or a controller that is newer than we are."""
    who = f"controller {call.controller}"
    match refusal.code:
        case Code.UNAVAILABLE:
            lost = f"{who} ended the connection before it had answered"
            return Told(_joined(lost, _unknown(call), "try again"), Exit.UNREACHABLE)
        case Code.DEADLINE_EXCEEDED:
            late = f"{who} did not answer within {call.deadline or 0:g} s"
            return Told(_joined(late, _unknown(call)), Exit.UNREACHABLE)
        case Code.UNIMPLEMENTED:
            return Told(
                f"{who} does not know {call.method}: it is older than this cordonctl, or the port "
                "is not its main one",
                Exit.REFUSED,
            )
        case Code.UNAUTHENTICATED | Code.PERMISSION_DENIED:
            return Told(_joined(f"{who}: {_text(refusal)}", LOGIN_AGAIN), Exit.NOT_PERMITTED)
        case Code.UNKNOWN | Code.INTERNAL | Code.DATA_LOSS:
            failed = f"{who} failed in {call.method}: look into its log"
            return Told(_joined(failed, _unknown(call)), Exit.REFUSED)
        case Code.INVALID_ARGUMENT:
            return Told(f"{who}: {_text(refusal)}", Exit.BAD_INPUT)
        case _:
            said = refusal.text or f"refuses {call.method} and does not say why"
            return Told(f"{who}: {said}", Exit.REFUSED)


def _unknown(call: Call) -> str:
    if not call.changes:
        return ""
    return "whether it was carried out is not known: `cordonctl audit` and `cordonctl history` tell"
