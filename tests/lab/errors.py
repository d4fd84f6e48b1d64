# SPDX-License-Identifier: Apache-2.0
"""What the lab raises when it cannot do its part: a fault of the set-up, never of what is tested.

Kept apart from AssertionError so that a report tells "the lab broke" from "the rule does not hold".
"""


class LabError(Exception):
    """The lab could not build, run or remove something; the message names it."""
