# SPDX-License-Identifier: Apache-2.0
"""A real controller, as a process of its own, over real TLS on loopback."""
