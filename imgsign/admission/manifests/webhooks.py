"""The two webhook configurations (admissionregistration.k8s.io/v1); pure.

:data:`RULES` is the whole of what is registered: every built-in object that holds a Pod or a template of
one, at the operations that can bring an image in. Left out on purpose: DELETE and CONNECT (no image enters,
and a dead webhook must not stop cleaning up), the subresources status, scale, resize, binding and eviction,
and every ``*``.
"""

from __future__ import annotations

import textwrap
from base64 import b64encode

from imgsign.admission.manifests.options import Options, Parts
from imgsign.admission.manifests.text import quoted
from imgsign.record import record


@record(kw_only=False)
class RegisteredRule:
    """One rule of a webhook; ``is_workload``: a template, mutated only where that is opted in to."""

    group: str
    resources: tuple[str, ...]
    operations: tuple[str, ...]
    comment: str
    is_workload: bool = True


RULES = (
    RegisteredRule(
        "",
        ("pods",),
        ("CREATE", "UPDATE"),
        "UPDATE: an image is one of the few fields of a Pod that may change.",
        False,
    ),
    RegisteredRule(
        "", ("pods/ephemeralcontainers",), ("UPDATE",), "kubectl debug; a rule for pods does not cover it.", False
    ),
    RegisteredRule(
        "",
        ("replicationcontrollers", "podtemplates"),
        ("CREATE", "UPDATE"),
        "Templates: their Pods are judged anyway; here the author sees the reason at once.",
    ),
    RegisteredRule(
        "apps", ("deployments", "statefulsets", "daemonsets", "replicasets"), ("CREATE", "UPDATE"), "The same."
    ),
    RegisteredRule("batch", ("jobs", "cronjobs"), ("CREATE", "UPDATE"), "The same."),
)

CONDITION = 'request.operation == "CREATE" || !has(object.spec) || object.spec != oldObject.spec'
"""An UPDATE that leaves the spec alone (labels, finalizers) brings no image in; PodTemplates have no spec."""

_DOCUMENT = """\
apiVersion: admissionregistration.k8s.io/v1
kind: {kind}WebhookConfiguration
metadata:
  name: imgsign
  labels:
    app.kubernetes.io/name: imgsign
    app.kubernetes.io/component: webhooks
{annotations}webhooks:
  - name: {verb}.images.imgsign  # what users read in every denial
    clientConfig:
      service:
        namespace: {place}
        name: imgsign
        path: /{verb}
        port: 443
{bundle}    admissionReviewVersions: [v1]
    # Nothing in the cluster changes by a review, so `kubectl --dry-run=server` is asked about as well.
    sideEffects: None
    # Fail: if no replica answers, nothing is created. Ignore would let everything through exactly when an
    # attacker makes the webhook or a registry slow.
    failurePolicy: Fail
    # Exact would let an object of another API version pass.
    matchPolicy: Equivalent
    # The webhook itself ends a second earlier, with a reason that people can read.
    timeoutSeconds: {timeout}
{reinvocation}    # By the name that Kubernetes gives a namespace. Never by a label that somebody can set, and never an
    # objectSelector: users write the labels of their objects.
    # RISK: whoever may create Pods in a namespace of this list runs any image there, privileged ones too.
    # kube-system is in it so that the control plane can come back without the webhook, {namespace} so that
    # the webhook itself can.
    namespaceSelector:
      matchExpressions:
        - key: kubernetes.io/metadata.name
          operator: NotIn
          values: [{skipped}]
    # What does not touch the spec brings no image in, and must work while the webhook does not.
    matchConditions:
      - name: spec-changes
        expression: {condition}
    rules:
{rules}
"""

_RULE = """\
# {comment}
- apiGroups: [{group}]
  apiVersions: [v1]
  resources: [{resources}]
  operations: [{operations}]
  scope: Namespaced
"""

_REINVOCATION = """\
    # A sidecar injected by a later webhook is pinned too.
    reinvocationPolicy: IfNeeded
"""


def webhooks(options: Options, parts: Parts) -> tuple[str, ...]:
    """The mutating configuration, which pins, and the validating one, which decides by itself."""
    pinned = tuple(r for r in RULES if options.mutate_workloads or not r.is_workload)
    return (
        _configuration("Mutating", "mutate", pinned, options, parts),
        _configuration("Validating", "validate", RULES, options, parts),
    )


def _configuration(kind: str, verb: str, rules: tuple[RegisteredRule, ...], options: Options, parts: Parts) -> str:
    if parts.self_made is None:
        annotations = f"  annotations:\n    cert-manager.io/inject-ca-from: {options.namespace}/imgsign\n"
        bundle = ""
    else:
        annotations = ""
        bundle = f"      caBundle: {b64encode(parts.self_made.authority.encode()).decode()}\n"
    return _DOCUMENT.format(
        kind=kind,
        verb=verb,
        annotations=annotations,
        bundle=bundle,
        namespace=options.namespace,
        place=quoted(options.namespace),
        timeout=options.timeout,
        reinvocation=_REINVOCATION if kind == "Mutating" else "",
        skipped=", ".join(map(quoted, options.skipped)),
        condition=quoted(CONDITION),
        rules=textwrap.indent("".join(map(_rule, rules)).rstrip("\n"), " " * 6),
    )


def _rule(rule: RegisteredRule) -> str:
    return _RULE.format(
        comment=rule.comment,
        group=rule.group or '""',
        resources=", ".join(rule.resources),
        operations=", ".join(rule.operations),
    )
