# SPDX-License-Identifier: Apache-2.0
"""What can go wrong before a test says anything."""


class VmError(Exception):
    """The machine could not be made or run; the sentence says what failed and what to do."""
