# SPDX-License-Identifier: Apache-2.0
"""What the controller serves over gRPC; each module is one servicer, or what several need."""
