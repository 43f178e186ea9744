"""The webhook itself: namespace, access, policy, Deployment, and what keeps it up; pure."""

from __future__ import annotations

from collections.abc import Mapping

from imgsign.admission.manifests.network import ADMIN_PORT, WEBHOOK_PORT
from imgsign.admission.manifests.options import Options, Parts
from imgsign.admission.manifests.text import block, quoted
from imgsign.admission.manifests.tls import LABELS

DRAIN = 20  # seconds of serving on after SIGTERM, until no endpoint list names the replica any more
SETTINGS_DIRECTORY = "/etc/imgsign-admission"
TLS_DIRECTORY = "/etc/imgsign-tls"
REGISTRIES_DIRECTORY = "/etc/imgsign-registries"
SPARE = 15  # seconds more until the kubelet kills

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

_DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: imgsign
  namespace: {quoted_namespace}
  labels: {labels}
spec:
  # Replicas share nothing. The HorizontalPodAutoscaler below changes this number; applying this file sets it back.
  replicas: {replicas}
  selector:
    matchLabels:
      app.kubernetes.io/name: imgsign
  strategy:
    rollingUpdate:
      maxUnavailable: 0
      maxSurge: 1
  template:
    metadata:
      labels: {labels}
      annotations:
        prometheus.io/scrape: "true"
        prometheus.io/port: "{admin}"
    spec:
      serviceAccountName: imgsign
      automountServiceAccountToken: {token}
      enableServiceLinks: false
      priorityClassName: imgsign
      # Serving on for {drain} s after SIGTERM, then the reviews under way ({timeout} s), then some to spare.
      terminationGracePeriodSeconds: {grace}
      # Not DoNotSchedule: three replicas on one node are better than one.
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              app.kubernetes.io/name: imgsign
        - maxSkew: 1
          topologyKey: topology.kubernetes.io/zone
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              app.kubernetes.io/name: imgsign
      securityContext:
        runAsNonRoot: true
        runAsUser: 65532
        runAsGroup: 65532
        fsGroup: 65532  # to read the key
        seccompProfile:
          type: RuntimeDefault
      containers:
        - name: imgsign
          # RISK: this image judges all others and is judged by nobody here. Pin it by digest and verify it first:
          # imgsign verify {image}
          image: {quoted_image}
          args:
{args}
          env:
            # The registries' logins, a Secret you may make:
            # kubectl -n {namespace} create secret generic imgsign-registries --from-file=config.json
            - name: DOCKER_CONFIG
              value: {registries_directory}
          ports:
            - name: webhook
              containerPort: {webhook}
            - name: admin
              containerPort: {admin}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop: [ALL]
          # No limit of CPU: a throttled webhook misses its deadlines, and what misses is denied.
          resources:
            requests:
              cpu: 250m
              memory: 384Mi
            limits:
              memory: 384Mi
          # Alive is the loop turning, nothing else: a dead registry is no reason to restart, nor unready.
          startupProbe:
            httpGet:
              path: /healthz
              port: admin
            periodSeconds: 1
            failureThreshold: 60
          livenessProbe:
            httpGet:
              path: /healthz
              port: admin
            periodSeconds: 10
            failureThreshold: 6
          readinessProbe:
            httpGet:
              path: /readyz
              port: admin
            periodSeconds: 2
            failureThreshold: 2
          volumeMounts:
            - name: policy
              mountPath: {settings_directory}
              readOnly: true
            - name: tls
              mountPath: {tls_directory}
              readOnly: true
            - name: registries
              mountPath: {registries_directory}
              readOnly: true
      volumes:
        # Settings and policies as one set of files, which changes at one moment; never by subPath, which never does.
        - name: policy
          projected:
            sources:
              - configMap:
                  name: imgsign-settings
              - configMap:
                  name: imgsign-policy
        - name: tls
          secret:
            secretName: imgsign-tls
            defaultMode: 288  # 0440, which YAML's versions read differently
        - name: registries
          secret:
            secretName: imgsign-registries
            optional: true
            defaultMode: 288  # 0440, which YAML's versions read differently
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
    return (*found, _deployment(options, parts), _BUDGET.format(**values), _SCALER.format(**values))


def arguments(options: Options, parts: Parts) -> list[str]:
    """The arguments of `imgsign admission serve`."""
    found = [
        f"--settings={SETTINGS_DIRECTORY}/{parts.settings_name}",
        f"--tls={TLS_DIRECTORY}",
        f"--listen=0.0.0.0:{WEBHOOK_PORT}",
        f"--admin=0.0.0.0:{ADMIN_PORT}",
        f"--timeout={options.timeout}s",
        f"--drain={DRAIN}s",
    ]
    return [*found, "--pull-secrets"] if options.pull_secrets else found


def _deployment(options: Options, parts: Parts) -> str:
    return _DEPLOYMENT.format(
        namespace=options.namespace,
        quoted_namespace=quoted(options.namespace),
        labels=LABELS,
        replicas=options.replicas,
        token="true" if options.pull_secrets else "false",
        drain=DRAIN,
        timeout=options.timeout,
        grace=DRAIN + options.timeout + SPARE,
        image=options.image,
        quoted_image=quoted(options.image),
        args="\n".join(f"            - {quoted(a)}" for a in arguments(options, parts)),
        webhook=WEBHOOK_PORT,
        admin=ADMIN_PORT,
        settings_directory=SETTINGS_DIRECTORY,
        tls_directory=TLS_DIRECTORY,
        registries_directory=REGISTRIES_DIRECTORY,
    )


def _config_map(name: str, files: Mapping[str, str], options: Options, comment: str) -> str:
    data = "\n".join(f"  {quoted(file)}: {block(text, 4)}" for file, text in sorted(files.items()))
    return _CONFIG_MAP.format(
        name=name, quoted_namespace=quoted(options.namespace), labels=LABELS, data=data, comment=comment
    )
