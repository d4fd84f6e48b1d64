# SPDX-License-Identifier: Apache-2.0
"""A service that breaks: the caller gets a status, and the log says what it was and where."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import grpc
import grpc.aio
import pytest

from agent.pb import admin_pb2 as pb
from agent.pb import admin_pb2_grpc
from controller.services import failures
from controller.services.serving import Server, Service


class Broken(admin_pb2_grpc.AdminServiceServicer):
    async def Whoami(self, request: pb.WhoamiRequest, context: Any) -> pb.WhoamiResponse:
        raise KeyError("a mistake of ours")


async def _call() -> grpc.StatusCode:
    add = admin_pb2_grpc.add_AdminServiceServicer_to_server
    server = Server([Service("cordon.v1.AdminService", add, Broken())], 1024, reflects=False)
    port = await server.start("127.0.0.1:0", grpc.local_server_credentials())
    try:
        async with grpc.aio.secure_channel(
            f"127.0.0.1:{port}", grpc.local_channel_credentials()
        ) as channel:
            stub = admin_pb2_grpc.AdminServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Whoami(pb.WhoamiRequest(), timeout=30)
            return caught.value.code()
    finally:
        await server.stop()


def test_what_a_service_raises_is_in_the_log_with_its_place(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert asyncio.run(_call()) is grpc.StatusCode.UNKNOWN
    (line,) = [one for one in capfd.readouterr().err.splitlines() if "call failed" in one]
    assert line.startswith("error a call failed inside what=")
    assert "KeyError('a mistake of ours')" in line
    assert "test_failures.py:" in line
    assert "Whoami" in line
    assert line.endswith("event=a_call_failed_inside")


def test_it_is_said_once_however_many_ports_there_are() -> None:
    for _ in range(3):
        failures.tell()
    kinds = [type(one).__name__ for one in logging.getLogger("grpc").handlers]
    assert kinds.count("_ToOurLog") == 1
