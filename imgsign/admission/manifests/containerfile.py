"""How the webhook's image is built; pure."""

from __future__ import annotations

_CONTAINERFILE = """\
# The image of imgsign's admission webhook. In a checkout of imgsign:
#
#   imgsign admission manifests --containerfile > Containerfile
#   imgsign check Containerfile --pin --policy POLICY      # writes the base image's judged digest into this file
#   podman build -t REGISTRY/imgsign:{version} .
#
FROM docker.io/library/python:3.13-slim AS build
COPY pyproject.toml README.md /src/
COPY imgsign /src/imgsign
# Compiled here: the container's file system is read-only, and a cold import would cost every start a second.
RUN python -m venv /opt/imgsign \\
 && /opt/imgsign/bin/pip install --no-cache-dir --disable-pip-version-check "/src[admission]" \\
 && /opt/imgsign/bin/python -m compileall -q /opt/imgsign

FROM docker.io/library/python:3.13-slim
COPY --from=build /opt/imgsign /opt/imgsign
# Nobody: the number is what runAsNonRoot checks.
USER 65532:65532
ENV PATH=/opt/imgsign/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
EXPOSE 8443 8080
ENTRYPOINT ["imgsign", "admission", "serve"]
"""


def containerfile(version: str) -> str:
    """Return the file's text."""
    return _CONTAINERFILE.format(version=version)
