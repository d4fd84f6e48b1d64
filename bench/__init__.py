# SPDX-License-Identifier: Apache-2.0
"""Figures, as ratios of one run: what the cordon costs, against the same hosts without it."""
