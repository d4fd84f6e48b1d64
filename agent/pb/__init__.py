# SPDX-License-Identifier: Apache-2.0
"""Generated from proto/cordon/v1 by proto/generate.py; do not edit."""
