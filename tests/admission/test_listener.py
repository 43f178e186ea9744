"""What Granian is told: it closes no connection before the API server does, and speaks modern TLS only."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest

from imgsign.admission.certificate import memory_file
from imgsign.admission.listener import IDLE, _attach, _Server

API_SERVER_IDLE = 90  # seconds: Go's http.Transport, as client-go uses it


@pytest.fixture
def granian() -> _Server:
    async def never(scope: Any, protocol: Any) -> None:
        raise AssertionError("nobody asks")

    own = socket.socket()
    files = memory_file("tls.crt", b"certificate"), memory_file("tls.key", b"key")
    made = _Server(never, own, files)
    own.close()
    for fd in files:
        os.close(fd)
    return made


def test_an_idle_connection_outlives_the_api_servers_patience(granian: _Server) -> None:
    assert IDLE >= 120 > API_SERVER_IDLE
    assert granian.http1_settings is not None
    assert granian.http1_settings.header_read_timeout == IDLE * 1000
    assert granian.http1_settings.keep_alive is True


def test_tls_begins_with_1_2_and_the_key_lies_on_no_disk(granian: _Server) -> None:
    is_on, certificate, key, password, least, *_ = granian.ssl_ctx
    assert (is_on, password, least) == (True, None, "tls1.2")
    assert certificate.startswith("/proc/self/fd/")
    assert key.startswith("/proc/self/fd/")


def test_a_memory_file_holds_what_it_was_given_and_has_no_name() -> None:
    fd = memory_file("tls.key", b"some key")
    try:
        with open(f"/proc/self/fd/{fd}", "rb") as file:
            assert file.read() == b"some key"
        assert os.readlink(f"/proc/self/fd/{fd}") == "/memfd:tls.key (deleted)"
        assert os.fstat(fd).st_nlink == 0
    finally:
        os.close(fd)


def test_new_connections_can_be_steered_on_this_kernel() -> None:
    with socket.socket() as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        own.bind(("127.0.0.1", 0))
        own.listen()
        _attach(own, 0)
