"""The webhook's settings: what is written is what applies, and anything else is refused with its place."""

from __future__ import annotations

import pytest

from imgsign.admission.settings import Mode, NamespaceRules, ScopeRules, Settings, parse_settings
from imgsign.errors import InvalidPolicy
from imgsign.reference import Repository
from imgsign.wire import load_json, load_toml

FULL = b"""
version = 1
policy = "policy.toml"
mode = "warn"
pin = true
mutate-workloads = true
refuse-short-names = true
unsafe-local-hosts = ["127.0.0.1:5000", "[::1]:5000"]

[namespaces.payments]
policy = "payments.toml"
mode = "enforce"

[namespaces.mesh]
pin = false
unsafe-allow-tags = true

[namespaces.kube-system]
exempt = true

[scopes."docker.io/istio"]
pin = false
unsafe-allow-tags = true

[scopes."docker.io/istio/pilot"]
"""


def parse(text: str | bytes) -> Settings:
    raw = text.encode() if isinstance(text, str) else text
    return parse_settings(load_toml(raw, limit=10_000))


def test_defaults_enforce_and_pin_pods_alone() -> None:
    rules = parse('version = 1\npolicy = "p.toml"').rules_for("any")
    assert rules == NamespaceRules(
        policy="p.toml", mode=Mode.ENFORCE, pin=True, mutate_workloads=False, unsafe_allow_tags=False, exempt=False
    )


def test_a_namespace_inherits_what_it_does_not_say() -> None:
    found = parse(FULL)
    assert found.rules_for("payments") == NamespaceRules(
        policy="payments.toml", mode=Mode.ENFORCE, pin=True, mutate_workloads=True
    )
    assert found.rules_for("mesh") == NamespaceRules(
        policy="policy.toml", mode=Mode.WARN, pin=False, mutate_workloads=True, unsafe_allow_tags=True
    )
    assert found.rules_for("kube-system").exempt
    assert not found.rules_for("kube-system2").exempt
    assert found.policies == {"policy.toml", "payments.toml"}
    assert found.local_hosts == {"127.0.0.1:5000", "[::1]:5000"}
    assert found.refuse_short_names


def test_the_most_specific_scope_alone_applies() -> None:
    found = parse(FULL)
    assert found.scope_rules(Repository("docker.io", "istio/proxyv2")) == ScopeRules(pin=False, unsafe_allow_tags=True)
    assert found.scope_rules(Repository("docker.io", "istio/pilot")) == ScopeRules()
    assert found.scope_rules(Repository("docker.io", "library/nginx")) == ScopeRules()


def test_json_of_the_same_shape_is_read() -> None:
    raw = b'{"version": 1, "policy": "p.json", "namespaces": {"a": {"mode": "audit"}}}'
    found = parse_settings(load_json(raw, limit=1000, error=InvalidPolicy))
    assert found.rules_for("a").mode is Mode.AUDIT


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('policy = "p"', "missing key 'version' at $"),
        ("version = 1", "missing key 'policy' at $"),
        ('version = 2\npolicy = "p"', "unknown version of the settings at $.version"),
        ('version = 1\npolicy = ""', "not the name of a policy file: '' at $.policy"),
        ('version = 1\npolicy = "../p"', "not the name of a policy file: '../p' at $.policy"),
        ('version = 1\npolicy = "/etc/p"', "not the name of a policy file: '/etc/p' at $.policy"),
        ('version = 1\npolicy = "..data"', "not the name of a policy file: '..data' at $.policy"),
        ('version = 1\npolicy = "p"\nmode = "off"', "unknown mode 'off' at $.mode"),
        ('version = 1\npolicy = "p"\npin = "yes"', "expected boolean, got string at $.pin"),
        ('version = 1\npolicy = "p"\nMode = "warn"', "key 'Mode' differs from 'mode' only by case at $"),
        ('version = 1\npolicy = "p"\nexempt = true', "unknown key 'exempt' at $"),
        ('version = 1\npolicy = "p"\nunsafe-local-hosts = "a:1"', "expected list, got string at $.unsafe-local-hosts"),
        (
            'version = 1\npolicy = "p"\nunsafe-local-hosts = ["http://a"]',
            "not a registry host: 'http://a' at $.unsafe-local-hosts[0]",
        ),
        (
            'version = 1\npolicy = "p"\n[namespaces."kube-*"]\nexempt = true',
            "'kube-*' cannot be the name of a namespace at $.namespaces.'kube-*'",
        ),
        ('version = 1\npolicy = "p"\n[namespaces.a]\nexempt = false', "expected true at $.namespaces.a.exempt"),
        (
            'version = 1\npolicy = "p"\n[namespaces.a]\nexempt = true\nmode = "warn"',
            "an exempt namespace has no other settings at $.namespaces.a",
        ),
        ('version = 1\npolicy = "p"\n[namespaces.a]\nlabels = {}', "unknown key 'labels' at $.namespaces.a"),
        (
            'version = 1\npolicy = "p"\n[scopes."docker.io/a:1"]',
            "scope 'docker.io/a:1' can never match an image at $.scopes.'docker.io/a:1'",
        ),
        ('version = 1\npolicy = "p"\n[scopes."*"]\nmode = "warn"', "unknown key 'mode' at $.scopes.'*'"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(InvalidPolicy) as caught:
        parse(text)
    assert caught.value.message == message
