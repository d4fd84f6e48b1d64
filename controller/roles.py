# SPDX-License-Identifier: Apache-2.0
"""The least role for each method of `AdminService` and `FlowQueryService`.

Pure; a test holds it equal to the contract.
"""

from __future__ import annotations

from collections.abc import Mapping

from controller.access_records import Role

REQUIRED: Mapping[str, Role] = {
    "Whoami": Role.VIEWER,
    "CreateToken": Role.OPERATOR,
    "ListTokens": Role.OPERATOR,
    "RevokeToken": Role.OPERATOR,
    "ListHosts": Role.VIEWER,
    "GetHost": Role.VIEWER,
    "RevokeHost": Role.OPERATOR,
    "UpdateHost": Role.OPERATOR,
    "ListAdministrators": Role.OPERATOR,
    "RevokeAdministrator": Role.OPERATOR,
    "Apply": Role.EDITOR,
    "Diff": Role.VIEWER,
    "GetDocuments": Role.VIEWER,
    "DeleteDocuments": Role.EDITOR,
    "Rollback": Role.EDITOR,
    "ListRevisions": Role.VIEWER,
    "Quarantine": Role.EDITOR,
    "LiftQuarantine": Role.EDITOR,
    "ListQuarantines": Role.VIEWER,
    "Explain": Role.VIEWER,
    "WatchRollout": Role.VIEWER,
    "GetSettings": Role.VIEWER,
    "UpdateSettings": Role.OPERATOR,
    "ListAudit": Role.VIEWER,
    "ListFlows": Role.VIEWER,
    "ListTalkers": Role.VIEWER,
    "ListEdges": Role.VIEWER,
}


def may(role: Role | None, method: str) -> bool:
    """An unknown method needs a role that there is not."""
    needed = REQUIRED.get(method)
    return role is not None and needed is not None and role >= needed
