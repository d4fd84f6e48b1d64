# SPDX-License-Identifier: Apache-2.0
"""What all tests share: nothing but the rule for tests that this machine cannot run."""

import os

import pytest


def cannot_run(reason: str) -> None:
    """Skip with the reason; in CI (CI=true), where every test has to run, fail with it."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; in CI this test must run")
    pytest.skip(reason)


@pytest.fixture
def require_root() -> None:
    """For a test that needs root."""
    if os.geteuid() != 0:
        cannot_run("needs root: run as root, or `make check` for the tests that do not")
