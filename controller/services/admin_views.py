# SPDX-License-Identifier: Apache-2.0
"""What administrators read: documents, history, settings, audit."""

from __future__ import annotations

from controller.services.admin_calls import Calls


class ViewCalls(Calls):
    """Part of `AdminService`."""
