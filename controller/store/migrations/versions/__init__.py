# SPDX-License-Identifier: Apache-2.0
"""Steps from one form of the tables to the next; Alembic runs them, nobody imports them."""
