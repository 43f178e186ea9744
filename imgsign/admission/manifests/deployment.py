"""The Deployment: how the webhook is started, secured, probed and ended; pure."""

from __future__ import annotations

from imgsign.admission.manifests.network import ADMIN_PORT, WEBHOOK_PORT
from imgsign.admission.manifests.options import Options, Parts
from imgsign.admission.manifests.text import quoted
from imgsign.admission.manifests.tls import LABELS

DRAIN = 20  # seconds of serving on after SIGTERM, until no endpoint list names the replica any more
SETTINGS_DIRECTORY = "/etc/imgsign-admission"
TLS_DIRECTORY = "/etc/imgsign-tls"
REGISTRIES_DIRECTORY = "/etc/imgsign-registries"
SPARE = 15  # seconds more until the kubelet kills

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


def deployment(options: Options, parts: Parts) -> str:
    """Return the object."""
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
