# SPDX-License-Identifier: Apache-2.0
"""A plugin for pytest inside the guest: what failed says why at once, for a machine whose time is
over does not come to a summary."""

from __future__ import annotations

import pytest


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed:
        print(f"\n{report.nodeid}, {report.when}:\n{report.longreprtext}", flush=True)
