# SPDX-License-Identifier: Apache-2.0
"""`cordon-controller`: the command line."""
