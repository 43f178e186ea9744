"""The webhook's certificate: two cert-manager Issuers and Certificates, or a Secret made here; pure."""

from __future__ import annotations

from imgsign.admission.manifests.options import Options, Parts
from imgsign.admission.manifests.text import block, quoted

_AUTHORITY = """\
# An authority for this webhook alone, and the leaf it signs. cert-manager puts the authority into both
# webhook configurations (inject-ca-from) and renews the leaf, which the webhook takes up while it runs.
apiVersion: cert-manager.io/v1
kind: Issuer
metadata:
  name: imgsign-self-signed
  namespace: {quoted_namespace}
  labels: {labels}
spec:
  selfSigned: {{}}
"""

_ROOT = """\
apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  name: imgsign-authority
  namespace: {quoted_namespace}
  labels: {labels}
spec:
  isCA: true
  commonName: imgsign webhook authority
  secretName: imgsign-authority
  duration: 87600h  # ten years: when it changes, replicas and caBundle disagree for a moment
  privateKey:
    algorithm: ECDSA
    size: 256
    rotationPolicy: Never
  issuerRef:
    name: imgsign-self-signed
    kind: Issuer
"""

_ISSUER = """\
apiVersion: cert-manager.io/v1
kind: Issuer
metadata:
  name: imgsign-authority
  namespace: {quoted_namespace}
  labels: {labels}
spec:
  ca:
    secretName: imgsign-authority
"""

_LEAF = """\
apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  name: imgsign
  namespace: {quoted_namespace}
  labels: {labels}
spec:
  secretName: imgsign-tls
  dnsNames:
    - {host}
    - {host}.cluster.local
  usages: [digital signature, server auth]
  duration: 2160h
  renewBefore: 720h
  privateKey:
    algorithm: ECDSA
    size: 256
    rotationPolicy: Always
  issuerRef:
    name: imgsign-authority
    kind: Issuer
"""

_PAIR = """\
# THIS OBJECT HOLDS A PRIVATE KEY: keep the file out of version control. The authority's own key was thrown
# away, so before the certificate ends this all has to be printed and applied again, in one go.
apiVersion: v1
kind: Secret
metadata:
  name: imgsign-tls
  namespace: {quoted_namespace}
  labels: {labels}
type: kubernetes.io/tls
stringData:
  tls.crt: {certificate}
  tls.key: {key}
  ca.crt: {authority}
"""

LABELS = "{app.kubernetes.io/name: imgsign, app.kubernetes.io/component: server}"


def tls(options: Options, parts: Parts) -> tuple[str, ...]:
    """Make what the Secret ``imgsign-tls`` comes from."""
    if (made := parts.self_made) is not None:
        return (
            _PAIR.format(
                quoted_namespace=quoted(options.namespace),
                labels=LABELS,
                certificate=block(made.certificate, 4),
                key=block(made.key, 4),
                authority=block(made.authority, 4),
            ),
        )
    values = {"quoted_namespace": quoted(options.namespace), "labels": LABELS, "host": options.host}
    return tuple(document.format(**values) for document in (_AUTHORITY, _ROOT, _ISSUER, _LEAF))
