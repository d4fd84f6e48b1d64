# SPDX-License-Identifier: Apache-2.0
"""`AdminService`: its parts as one servicer."""

from __future__ import annotations

from agent.pb import admin_pb2_grpc
from controller.services.admin_calls import Tools
from controller.services.admin_hosts import HostCalls
from controller.services.admin_policy import PolicyCalls
from controller.services.admin_rollout import RolloutCalls
from controller.services.admin_settings import SettingsCalls
from controller.services.admin_tokens import TokenCalls
from controller.services.admin_views import ViewCalls
from controller.services.serving import Service

NAME = "cordon.v1.AdminService"


class AdminServicer(
    TokenCalls,
    HostCalls,
    PolicyCalls,
    ViewCalls,
    SettingsCalls,
    RolloutCalls,
    admin_pb2_grpc.AdminServiceServicer,
):
    """One per controller."""


def service(tools: Tools) -> Service:
    servicer = AdminServicer(tools)
    add = admin_pb2_grpc.add_AdminServiceServicer_to_server
    return Service(NAME, add, servicer, servicer.stop)
