"""What an operator applies to a cluster, as text: Kubernetes objects in YAML with comments; pure.

The YAML is written by hand, since its comments are half of its worth: every choice that can hurt says so
where it stands. What comes from outside (names, an image, a policy) is checked by :class:`Options` and
written by :mod:`~imgsign.admission.manifests.text`, so that no value can become structure.

- ``deployment``: the webhook itself; ``objects``: what is around it, from the namespace to the autoscaler
- ``network``: Service and NetworkPolicy
- ``tls``: the certificate, by cert-manager or made here
- ``webhooks``: both webhook configurations, and the table of what they register
- ``containerfile``: how the image is built

Order matters: the webhook configurations come last, since from then on the cluster asks for every Pod.
"""

from __future__ import annotations

from imgsign.admission.manifests.containerfile import containerfile
from imgsign.admission.manifests.network import network
from imgsign.admission.manifests.objects import objects
from imgsign.admission.manifests.options import Options, Parts, SelfMade
from imgsign.admission.manifests.tls import tls
from imgsign.admission.manifests.webhooks import webhooks

__all__ = ["Options", "Parts", "SelfMade", "containerfile", "manifests"]

_HEAD = """\
# imgsign's admission webhook in namespace {namespace}. Written by `imgsign admission manifests`.
#
#   kubectl apply -f FILE -l app.kubernetes.io/component=server
#   kubectl -n {namespace} rollout status deployment/imgsign
#   kubectl apply -f FILE
#
# The last step registers the webhooks. Without replicas that answer, no Pod can be created from then on
# outside the exempt namespaces, which is what failing closed means. To switch everything off in an emergency:
#
#   kubectl delete validatingwebhookconfiguration,mutatingwebhookconfiguration imgsign
#
# Whoever may do that, or change these objects, decides what runs: look at your RBAC.
"""


def manifests(options: Options, parts: Parts) -> str:
    """All objects as one YAML stream."""
    head = _HEAD.format(namespace=options.namespace)
    documents = (*objects(options, parts), *network(options), *tls(options, parts), *webhooks(options, parts))
    return head + "".join(f"---\n{document}" for document in documents)
