"""How the webhook is reached, and whom it reaches; pure."""

from __future__ import annotations

from imgsign.admission.manifests.options import Options
from imgsign.admission.manifests.text import quoted
from imgsign.admission.manifests.tls import LABELS

WEBHOOK_PORT = 8443
ADMIN_PORT = 8080

_SERVICE = """\
apiVersion: v1
kind: Service
metadata:
  name: imgsign
  namespace: {quoted_namespace}
  labels: {labels}
spec:
  selector:
    app.kubernetes.io/name: imgsign
  ports:
    - name: webhook
      port: 443
      targetPort: webhook
"""

_POLICY = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: imgsign
  namespace: {quoted_namespace}
  labels: {labels}
spec:
  podSelector:
    matchLabels:
      app.kubernetes.io/name: imgsign
  policyTypes: [Ingress, Egress]
  ingress:
    # RISK: anyone who reaches this port can make the webhook ask registries with its credentials. The API
    # server's address differs from cluster to cluster: narrow this with `from: [{{ipBlock: {{cidr: …}}}}]`.
    - ports:
        - port: webhook
    # Probes come from the node, scrapes from Prometheus; there is nothing secret on this port.
    - ports:
        - port: admin
  egress:
    - ports:
        - {{port: 53, protocol: UDP}}
        - {{port: 53, protocol: TCP}}
    # Registries{also}. Other ports have to be added. The cloud's metadata service gives credentials to
    # whoever asks, so it is left out.
    - ports:
        - {{port: 443, protocol: TCP}}{api_port}
      to:
        - ipBlock:
            cidr: 0.0.0.0/0
            except: [169.254.0.0/16]
        - ipBlock:
            cidr: "::/0"
            except: ["fe80::/10", "fd00:ec2::254/128"]
"""


def network(options: Options) -> tuple[str, ...]:
    """Service and NetworkPolicy."""
    api = bool(options.pull_secrets)
    values = {
        "quoted_namespace": quoted(options.namespace),
        "labels": LABELS,
        "also": " and the API server" if api else "",
        "api_port": "\n        - {port: 6443, protocol: TCP}" if api else "",
    }
    return tuple(document.format(**values) for document in (_SERVICE, _POLICY))
