"""Everything around the Deployment: namespace, access, settings, policy, and what keeps it up; pure."""

from __future__ import annotations

from collections.abc import Mapping

from imgsign.admission.manifests.deployment import deployment
from imgsign.admission.manifests.options import Options, Parts
from imgsign.admission.manifests.text import block, quoted
from imgsign.admission.manifests.tls import LABELS

_NAMESPACE = """\
apiVersion: v1
kind: Namespace
metadata:
  name: {quoted_namespace}
  labels:
    app.kubernetes.io/name: imgsign
    app.kubernetes.io/component: server
    # What runs here is not asked about, so nothing privileged may run here.
    pod-security.kubernetes.io/enforce: restricted
"""

_ACCOUNT = """\
apiVersion: v1
kind: ServiceAccount
metadata:
  name: imgsign
  namespace: {quoted_namespace}
  labels: {labels}
# The webhook asks the API server {asks}.
automountServiceAccountToken: false
"""

_ROLE = """\
# RISK: the webhook may read every Secret of this namespace: Kubernetes cannot grant "those that Pods name".
# It asks for imagePullSecrets of the Pod under review only.
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: imgsign-pull-secrets
  namespace: {quoted_place}
  labels: {labels}
rules:
  - apiGroups: [""]
    resources: [secrets]
    verbs: [get]
"""

_BINDING = """\
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: imgsign-pull-secrets
  namespace: {quoted_place}
  labels: {labels}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: imgsign-pull-secrets
subjects:
  - kind: ServiceAccount
    name: imgsign
    namespace: {quoted_namespace}
"""

_PRIORITY = """\
# Evicted last, and started by evicting others: without it no other Pod can be created.
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata:
  name: imgsign
  labels: {labels}
value: 1000000000
description: The admission webhook that every new Pod needs.
"""

_CONFIG_MAP = """\
# {comment}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {name}
  namespace: {quoted_namespace}
  labels: {labels}
data:
{data}
"""

_BUDGET = """\
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: imgsign
  namespace: {quoted_namespace}
  labels: {labels}
spec:
  maxUnavailable: 1
  # A replica that is not ready must not keep a node from being drained.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      app.kubernetes.io/name: imgsign
"""

_SCALER = """\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: imgsign
  namespace: {quoted_namespace}
  labels: {labels}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: imgsign
  minReplicas: {replicas}
  maxReplicas: {most}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: 70
"""


def objects(options: Options, parts: Parts) -> tuple[str, ...]:
    """Everything but network, certificate and webhooks."""
    values = {
        "quoted_namespace": quoted(options.namespace),
        "labels": LABELS,
        "replicas": options.replicas,
        "most": max(10, 3 * options.replicas),
        "asks": "for imagePullSecrets; its Pods mount a token of their own" if options.pull_secrets else "for nothing",
    }
    found = [_NAMESPACE.format(**values), _ACCOUNT.format(**values)]
    for place in options.pull_secrets:
        found += [
            _ROLE.format(quoted_place=quoted(place), **values),
            _BINDING.format(quoted_place=quoted(place), **values),
        ]
    found.append(_PRIORITY.format(**values))
    found.append(_config_map("imgsign-settings", {parts.settings_name: parts.settings}, options, "What applies where."))
    found.append(_config_map("imgsign-policy", parts.policies, options, "Whose signatures count: change it by review."))
    return (*found, deployment(options, parts), _BUDGET.format(**values), _SCALER.format(**values))


def _config_map(name: str, files: Mapping[str, str], options: Options, comment: str) -> str:
    data = "\n".join(f"  {quoted(file)}: {block(text, 4)}" for file, text in sorted(files.items()))
    return _CONFIG_MAP.format(
        name=name, quoted_namespace=quoted(options.namespace), labels=LABELS, data=data, comment=comment
    )
