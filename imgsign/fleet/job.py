"""A Kubernetes Indexed Job that spreads one audit over machines: printed, for a person to read and apply.

Source: Kubernetes API batch/v1 Job (``completionMode: Indexed``, ``JOB_COMPLETION_INDEX``). Each pod audits
one shard into a file of its own on a shared volume; a pod that is killed goes on where it was. Written as
JSON values within YAML, so that no text of a target can become anything else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

SHARDS_LIMIT = 1000

_JOB = """\
# The policy and its keys, which the policy names relative to itself:
#   kubectl -n {namespace} create configmap imgsign-policy --from-file=policy.toml --from-file=release.pub
# Credentials for the registries, as docker login writes them (leave out the volume if none are needed):
#   kubectl -n {namespace} create secret generic imgsign-registries --from-file=config.json
# A volume that all nodes can write to: the claim imgsign-audit (ReadWriteMany).
# When the job is complete, where the volume is mounted:
#   imgsign audit merge {parts} --jsonl audit.jsonl --html report.html
apiVersion: batch/v1
kind: Job
metadata:
  name: imgsign-audit
  namespace: {namespace_json}
spec:
  completions: {shards}
  parallelism: {shards}
  completionMode: Indexed
  backoffLimit: {backoff}
  template:
    spec:
      restartPolicy: OnFailure
      automountServiceAccountToken: false
      securityContext:
        runAsNonRoot: true
        runAsUser: 65532
        fsGroup: 65532
        seccompProfile: {{type: RuntimeDefault}}
      containers:
        - name: audit
          image: {image}
          # Images that are denied or undecided are a result; a part without its end is a failure of the pod.
          command: ["sh", "-c"]
          args:
            - >-
              imgsign audit "$@" --policy /etc/imgsign/policy.toml
              --shard "$JOB_COMPLETION_INDEX/{shards}" --resume "/audit/part-$JOB_COMPLETION_INDEX.jsonl";
              tail -n 1 "/audit/part-$JOB_COMPLETION_INDEX.jsonl" | grep -q '^{{"end"'
            - audit
{targets}
          env:
            - {{name: DOCKER_CONFIG, value: /etc/imgsign-registries}}
            - {{name: HOME, value: /tmp}}
          resources:
            requests: {{cpu: "1", memory: 128Mi}}
            limits: {{memory: 256Mi}}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {{drop: [ALL]}}
          volumeMounts:
            - {{name: policy, mountPath: /etc/imgsign, readOnly: true}}
            - {{name: registries, mountPath: /etc/imgsign-registries, readOnly: true}}
            - {{name: audit, mountPath: /audit}}
            - {{name: tmp, mountPath: /tmp}}
      volumes:
        - {{name: policy, configMap: {{name: imgsign-policy}}}}
        - {{name: registries, secret: {{secretName: imgsign-registries, optional: true}}}}
        - {{name: audit, persistentVolumeClaim: {{claimName: imgsign-audit}}}}
        - {{name: tmp, emptyDir: {{}}}}
"""


def manifests(targets: Sequence[str], *, shards: int, image: str, namespace: str) -> str:
    """Write the Job for these targets; ``namespace`` is a checked DNS label."""
    return _JOB.format(
        namespace=namespace,
        namespace_json=json.dumps(namespace),
        shards=shards,
        backoff=6 * shards,
        image=json.dumps(image),
        targets="\n".join(f"            - {_scalar(t)}" for t in targets),
        parts=" ".join(f"part-{i}.jsonl" for i in range(shards)) if shards <= 8 else "part-*.jsonl",
    )


def _scalar(text: str) -> str:
    # "$(NAME)" in args would be expanded by Kubernetes; "$$" is its escape.
    return json.dumps(text.replace("$", "$$"))
