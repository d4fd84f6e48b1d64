# SPDX-License-Identifier: Apache-2.0
"""The store's contract, on SQLite and on a real PostgreSQL."""
