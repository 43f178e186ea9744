"""Hosts that a Pod's author may not make the webhook talk to."""

from __future__ import annotations

import pytest

from imgsign.admission.hosts import host_problem


@pytest.mark.parametrize(
    "registry",
    [
        "localhost",
        "localhost:5000",
        "LOCALHOST:5000",
        "registry.localhost",
        "127.0.0.1:5000",
        "127.8.9.1",
        "0.0.0.0:80",
        "[::1]:5000",
        "[::]:5000",
        "[::ffff:127.0.0.1]:80",
        "[::ffff:7f00:1]:80",
        "[2002:7f00:1::]:80",
        "169.254.169.254",
        "169.254.169.254:80",
        "[fe80::1]:80",
        "[::ffff:a9fe:a9fe]:80",
        "[fd00:ec2::254]:80",
        "100.100.100.200",
        "168.63.129.16",
        "metadata.google.internal",
        "METADATA.google.internal:80",
        "kubernetes.default.svc:443",
        "kubernetes.default.svc.cluster.local",
        "224.0.0.1:80",
        "255.255.255.255",
        "2130706433:80",
        "127.1:80",
        "0x7f000001:80",
        "127.0.0.0x1:80",
        "0177.0.0.1",
        "1.2.3.4.5",
    ],
)
def test_a_host_that_is_this_machine_or_a_clouds_is_refused(registry: str) -> None:
    assert host_problem(registry) is not None


@pytest.mark.parametrize(
    "registry",
    [
        "docker.io",
        "registry.example.com:5000",
        "10.0.0.5:5000",
        "192.168.1.2:5000",
        "[fd12:3456::1]:5000",
        "registry.registry.svc.cluster.local:5000",
        "registry.registry.svc:5000",
        "127.0.0.1.example.com",
        "localhost.example.com",
        "1e100.net",
        "[2001:db8::1]:5000",
    ],
)
def test_a_registry_elsewhere_is_talked_to(registry: str) -> None:
    assert host_problem(registry) is None
