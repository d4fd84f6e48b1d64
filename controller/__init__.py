# SPDX-License-Identifier: Apache-2.0
"""The controller: documents that people write in, signed snapshots for hosts out.

This version is the offline half: `cordonctl compile` runs it on files. Everything but `offline` is
pure, so that a controller that serves agents can use the same compiler unchanged.
"""
