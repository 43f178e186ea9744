"""Which kind of file a text is: names help, what would be deployed decides."""

from __future__ import annotations

import pytest

from imgsign.images.kinds import FileKind, detect

POD = "apiVersion: v1\nkind: Pod\n"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("k8s/app.yaml", POD, FileKind.KUBERNETES),
        ("app.json", '{"apiVersion": "v1", "kind": "Pod"}', FileKind.KUBERNETES),
        ("values.yaml", "image: x\n", FileKind.KUBERNETES),
        ("broken.yaml", "a: [", FileKind.KUBERNETES),
        ("rendered", POD, FileKind.KUBERNETES),
        ("compose.yaml", "services: {}\n", FileKind.COMPOSE),
        ("docker-compose.prod.yml", "x: 1\n", FileKind.COMPOSE),
        ("stack.yml", "services: {}\n", FileKind.COMPOSE),
        ("compose.yaml", f"services: {{}}\n{POD}", FileKind.KUBERNETES),
        ("compose.yaml", f'services: {{}}\n"\\x61piVersion": v1\n{POD[15:]}', FileKind.KUBERNETES),
        ("base/kustomization.yaml", "images: []\n", FileKind.KUSTOMIZATION),
        ("kustomization.yml", "", FileKind.KUSTOMIZATION),
        ("Kustomization", "resources: []\n", FileKind.KUSTOMIZATION),
        ("x.yaml", "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n", FileKind.KUSTOMIZATION),
        ("kustomization.yaml", POD, FileKind.KUBERNETES),
        ("Dockerfile", "FROM a\n", FileKind.DOCKERFILE),
        ("Dockerfile.prod", "", FileKind.DOCKERFILE),
        ("web.Dockerfile", "", FileKind.DOCKERFILE),
        ("Containerfile", "", FileKind.DOCKERFILE),
        ("build/image", "from a\n", FileKind.DOCKERFILE),
        ("Dockerfile.yaml", POD, FileKind.KUBERNETES),
        ("README.md", "nothing\n", None),
    ],
)
def test_the_kind_of_a_file(name: str, text: str, expected: FileKind | None) -> None:
    assert detect(name, text) is expected
