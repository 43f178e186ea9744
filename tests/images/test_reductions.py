"""The interesting construct of each real file in a few lines of our own, and what a regular expression makes of it.

``like`` names the file of ``real_files.py`` that has the construct. Both lists are written by hand; the pattern's
is checked too, so that the table shows what really goes wrong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pytest

from imgsign.images import compose, dockerfile
from tests.images.real_files import REAL_FILES

FROM = re.compile(r"^FROM\s+(\S+)", re.MULTILINE)
IMAGE = re.compile(r"image:\s*(\S+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduction:
    like: str
    text: str
    images: list[str]
    pattern: list[str]
    arguments: dict[str, str] = field(default_factory=dict)
    contexts: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


REDUCTIONS = (
    Reduction(
        like="moby/buildkit/Dockerfile",
        text="ARG DEBUG\nFROM scratch AS kit-linux\nFROM kit-$TARGETOS${DEBUG:+-debug} AS kit\n",
        arguments={"TARGETOS": "linux"},
        images=[],
        pattern=["scratch", "kit-$TARGETOS${DEBUG:+-debug}"],
    ),
    Reduction(
        like="moby/buildkit/Dockerfile",
        text="FROM --platform=$BUILDPLATFORM alpine AS filter\nCOPY --link --from=a/binfmt:v1 / /out/\n",
        images=["alpine", "a/binfmt:v1"],
        pattern=["--platform=$BUILDPLATFORM"],
    ),
    Reduction(
        like="moby/buildkit/hack/dockerfiles/lint.Dockerfile",
        text="FROM go AS base\nRUN <<'EOF'\ncat <<'eot' > x\nFROM fake\neot\nEOF\nFROM base\n",
        images=["go"],
        pattern=["go", "fake", "base"],
    ),
    Reduction(
        like="moby/buildkit/hack/dockerfiles/archutil.Dockerfile",
        text='ARG L=${TARGETPLATFORM#linux/amd64}\nARG L=${L:+"no"}\nARG L=${L:-"yes"}\n'
        "FROM scratch AS x-no\nFROM scratch AS x-yes\nFROM x-${L}\n",
        arguments={"TARGETPLATFORM": "linux/arm64"},
        images=[],
        pattern=["scratch", "scratch", "x-${L}"],
    ),
    Reduction(
        like="moby/moby/Dockerfile",
        text='ARG V=1.26\nARG D="trixie"\nARG GO="golang:${V}-${D}"\nFROM ${GO} AS base\n',
        images=["golang:1.26-trixie"],
        pattern=["${GO}"],
    ),
    Reduction(
        like="moby/moby/Dockerfile.windows",
        text="# escape=`\nARG I=m.io/core\nARG T=2022\nFROM ${I}:${T}\nRUN a `\nFROM no\nWORKDIR C:\\\nRUN b\n",
        images=["m.io/core:2022"],
        pattern=["${I}:${T}", "no"],
    ),
    Reduction(
        like="docker/compose/Dockerfile",
        text="FROM a AS license-set\nFROM scratch\nCOPY --from=set /out /\n",
        images=["a", "set"],
        pattern=["a", "scratch"],
    ),
    Reduction(
        like="docker/compose/pkg/e2e/fixtures/build-dependencies/service.dockerfile",
        text="FROM base\n",
        contexts={"base": "service:base"},
        images=[],
        pattern=["base"],
    ),
    Reduction(
        like="docker/cli/Dockerfile",
        text="ARG B=alpine\nFROM x/bin:1   AS bin\nFROM go AS build-alpine\nFROM build-${B}\n",
        images=["x/bin:1", "go"],
        pattern=["x/bin:1", "go", "build-${B}"],
    ),
    Reduction(
        like="goharbor/harbor/tests/test-engine-image/Dockerfile.ui_test",
        text="FROM ubuntu\nCOPY --from=tool_builder /a /b\n",
        images=["ubuntu", "tool_builder"],
        pattern=["ubuntu"],
    ),
    Reduction(
        like="goharbor/harbor/make/photon/portal/Dockerfile",
        text="ARG version\nARG NODE\nFROM ${NODE} as portal\nFROM x/base:${version}\n",
        images=[],
        pattern=["${NODE}", "x/base:${version}"],
        problems=["unset-argument", "unset-argument"],
    ),
    Reduction(
        like="ollama/ollama/Dockerfile",
        text="ARG FLAVOR=${TARGETARCH}\nFROM --platform=linux/amd64 scratch AS amd64\nFROM ${FLAVOR} AS image\n",
        arguments={"TARGETARCH": "amd64"},
        images=[],
        pattern=["--platform=linux/amd64", "${FLAVOR}"],
    ),
    Reduction(
        like="tonistiigi/xx/src/Dockerfile",
        text="ARG TYPE=alpine\nARG IMAGE=${TYPE}\nFROM ${IMAGE} AS base-alpine\n"
        "FROM ${IMAGE} AS base-debian\nFROM base-${TYPE}\n",
        images=["alpine", "alpine"],
        pattern=["${IMAGE}", "${IMAGE}", "base-${TYPE}"],
    ),
    Reduction(
        like="netbox-community/netbox-docker/Dockerfile",
        text="ARG FROM\nFROM ${FROM} AS builder\nARG FROM\nFROM ${FROM} AS main\n",
        arguments={"FROM": "ubuntu:1"},
        images=["ubuntu:1", "ubuntu:1"],
        pattern=["${FROM}", "${FROM}"],
    ),
    Reduction(
        like="nodejs/docker-node/Dockerfile-alpine.template",
        text='FROM alpine:0.0\nRUN case x in \\\n  "${PLACEHOLDER}"\n  esac\n',
        images=["alpine:0.0"],
        pattern=["alpine:0.0"],
        problems=["unknown-instruction"],
    ),
    Reduction(
        like="docker/awesome-compose/nginx-golang/backend/Dockerfile",
        text="# syntax=docker/dockerfile:1.4\nFROM go AS builder\nFROM builder as dev\nCOPY --from=x/docker / /\n",
        images=["docker/dockerfile:1.4", "go", "x/docker"],
        pattern=["go", "builder"],
    ),
    Reduction(
        like="getsentry/self-hosted/docker-compose.yml",
        text="x-d: &d\n  image: local\n  build: {context: ./s, args: [I]}\n  pull_policy: never\n"
        'services:\n  web: {<<: *d}\n  db: {image: "postgres:1"}\n  v: {image: "$V"}\n',
        images=["postgres:1"],
        pattern=["local", '"postgres:1"}', '"$V"}'],
        problems=["unset-variable"],
    ),
    Reduction(
        like="netbox-community/netbox-docker/docker-compose.yml",
        text="services:\n  a: &a\n    image: n/n:${VERSION-v4}\n  b:\n    <<: *a\n    user: x\n",
        images=["n/n:v4", "n/n:v4"],
        pattern=["n/n:${VERSION-v4}"],
    ),
    Reduction(
        like="langfuse/langfuse/docker-compose.yml",
        text="services:\n  a:\n    image: p:${V:-17}\n    environment:\n      FROM_IMAGE_ID: ${X:-}\n",
        images=["p:17"],
        pattern=["p:${V:-17}"],
    ),
    Reduction(
        like="docker/cli/e2e/compose-env.yaml",
        text="services:\n  a:\n    image: 'registry:3' # image: no\n",
        images=["registry:3"],
        pattern=["'registry:3'", "no"],
    ),
    Reduction(
        like="moby/buildkit/hack/composefiles/compose.yaml",
        text="services:\n  a:\n    build: ../..\n    image: a/b:local\n    command: 'echo image: x'\n",
        images=["a/b:local"],
        pattern=["a/b:local", "x'"],
    ),
)


@pytest.mark.parametrize("case", REDUCTIONS, ids=lambda case: case.like)
def test_a_construct_of_a_real_file_is_read_where_a_pattern_fails(case: Reduction) -> None:
    is_compose = case.like.endswith((".yml", ".yaml"))
    if is_compose:
        result = compose.scan(case.text, environment=case.arguments)
    else:
        result = dockerfile.scan(case.text, arguments=case.arguments, contexts=case.contexts)
    assert [f.text for f in result.found] == case.images
    assert [p.code for p in result.problems] == case.problems
    assert (IMAGE if is_compose else FROM).findall(case.text) == case.pattern


def test_every_construct_is_one_of_a_real_file() -> None:
    assert {case.like for case in REDUCTIONS} <= {f"{f.repository}/{f.path}" for f in REAL_FILES}
