# SPDX-License-Identifier: Apache-2.0
"""The command lines: `cordon-agent` and `cordonctl`."""
