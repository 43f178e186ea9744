"""Dockerfiles and compose files of public projects: what each names, written by hand after reading it.

The files are not here. ``commit`` and ``sha256`` say which text was read; ``tests/images/test_real_files.py``
checks the table against the files where ``IMGSIGN_REAL_FILES`` names a directory that has them as
``OWNER/NAME/PATH``. ``images`` are (line, role, reference); one line may stand for several services that share it.
``pattern`` is what ``^FROM\\s+(\\S+)`` and ``image:\\s*(\\S+)`` would get wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["REAL_FILES", "RealFile"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RealFile:
    repository: str
    path: str
    sha256: str
    images: tuple[tuple[int, str, str], ...] = ()
    problems: tuple[tuple[int, str], ...] = ()
    builds: int = 0
    arguments: Mapping[str, str] = field(default_factory=dict)
    contexts: Mapping[str, str] = field(default_factory=dict)
    pattern: str

    @property
    def is_compose(self) -> bool:
        return self.path.endswith((".yml", ".yaml"))

    @property
    def commit(self) -> str:
        return COMMITS[self.repository]


COMMITS: Mapping[str, str] = {
    "astral-sh/uv": "26a9dd4b2125bc271b47855e1fa0c49af3365db5",
    "compose-spec/compose-spec": "170098ba07d9f53c383a41bfd4c5166b0a4529a6",
    "distribution/distribution": "0d6b721dc3ceacb5d678c25b718b2f40a507c2d8",
    "docker/awesome-compose": "18f59bdb09ecf520dd5758fbf90dec314baec545",
    "docker/buildx": "461836ba0fcb3e847dab6045a726889faa150bdb",
    "docker/cli": "28f756087eea5fa301f3fbf12b01ae62f91521c2",
    "docker/compose": "f72979427042620a94dd52ce78b39c68cb02c085",
    "dotnet/dotnet-docker": "3ed00b611cc88eaa5995525a0549a5703965cd02",
    "getsentry/self-hosted": "89a143f8e4d396a858cf6f462a832ae7da9fd2db",
    "goharbor/harbor": "c50c7ddd6ea4e335a480b49c618281882ab7eec9",
    "langfuse/langfuse": "62751446149b702b419a9292ddfc2280cdf74b8c",
    "moby/buildkit": "73ed6825c4b7569379ef89df0aedcdbe64473d31",
    "moby/moby": "b985e2313a8676e18072b442911fc8f64f17d440",
    "netbox-community/netbox-docker": "27bf52cf3ea882324273fbabbf23f0af6a194f12",
    "nodejs/docker-node": "f27d936f7d7ccdeec25cd2de33584c1a841f561d",
    "ollama/ollama": "fb30760996871fa9460115c753afd2c60d4ab0f7",
    "open-telemetry/opentelemetry-demo": "054282e318317f2be09f67dd9b0d7d1278566cfa",
    "prometheus/prometheus": "d15adb9ad7e5d9fbde3a9a8f30200593a5a14d86",
    "tonistiigi/xx": "edd277897e9463813a936d20950b560de39eddba",
}

_SYNTAX = (1, "syntax", "docker/dockerfile:1")
_UPSTREAM = (1, "syntax", "docker/dockerfile-upstream:master")
_LINUX = {"TARGETOS": "linux"}

REAL_FILES: tuple[RealFile, ...] = (
    RealFile(
        repository="moby/buildkit",
        path="Dockerfile",
        sha256="f43ac6fb8a2545573785fdf1935cb0a5a306565f10e4675202f097e74d035015",
        arguments=_LINUX,
        images=(
            _UPSTREAM,
            (33, "base", "quay.io/minio/minio:RELEASE.2025-09-07T16-13-09Z"),
            (34, "base", "quay.io/minio/mc:RELEASE.2025-08-13T08-35-41Z"),
            (37, "base", "tonistiigi/xx:1.9.0"),
            (40, "base", "golang:1.26-alpine3.23"),
            (42, "base", "moby/moby-bin:29.6"),
            (43, "base", "dockereng/cli-bin:29.6"),
            (44, "base", "docker/buildx-bin:0.34.1"),
            (162, "base", "alpine:3.23"),
            (183, "base", "alpine:3.23"),
            (
                185,
                "copy",
                "tonistiigi/binfmt:buildkit-v10.2.3-66@sha256:6014c1e52b8e51a67fbf76f691ffbe20ac0204c31c2f086df3e8ef3ce134b488",
            ),
            (211, "base", "alpine:3.23"),
            (223, "base", "alpine:3.23"),
            (229, "base", "ubuntu:24.04"),
            (491, "base", "alpine:3.23"),
        ),
        pattern="takes --platform=… for the image five times, 30 stages for images (two named by ${…:+-debug} and "
        "$TARGETOS), leaves ${…}; misses the syntax and COPY --from=tonistiigi/binfmt",
    ),
    RealFile(
        repository="moby/buildkit",
        path="hack/dockerfiles/lint.Dockerfile",
        sha256="8a1de7112f544ace415b3046abc5789769d547a14658b37dc1673c9a27ef0bb5",
        images=(
            _UPSTREAM,
            (13, "base", "golang:1.26-alpine3.23"),
            (14, "base", "yoheimuta/protolint:0.56.4"),
            (15, "base", "tonistiigi/xx:1.9.0"),
        ),
        pattern="takes --platform=… for the image and stages chosen by ${GOLANGCI_FROM_SOURCE} for images",
    ),
    RealFile(
        repository="moby/buildkit",
        path="hack/dockerfiles/generated-files.Dockerfile",
        sha256="b26cf21a09542645e069a07bbc5b26df0bdc65c708f7e52dce7b993ebbf764bf",
        images=(_UPSTREAM, (11, "base", "golang:1.26-trixie")),
        pattern="leaves golang:${GO_VERSION}-${DEBIAN_VERSION}; takes seven stages for images",
    ),
    RealFile(
        repository="moby/buildkit",
        path="hack/dockerfiles/archutil.Dockerfile",
        sha256="f453608d4abe5b8222dd6642b12f7f84e10012e2bfada42d306d52758dbaba60",
        arguments={"TARGETPLATFORM": "linux/amd64"},
        images=(_UPSTREAM, (12, "base", "debian:trixie-slim"), (89, "base", "golang:1.26-alpine3.23")),
        pattern="a stage is chosen by an argument that is made in three steps with #, :+ and :-; seen as an image",
    ),
    RealFile(
        repository="moby/buildkit",
        path="hack/dockerfiles/docs-dockerfile.Dockerfile",
        sha256="901a7326771b6e6f5793f67304a12d3dd877156a25cbfd80ed415019407f2bd5",
        images=(_SYNTAX, (6, "base", "golang:1.26-alpine3.23"), (16, "base", "alpine")),
        pattern="leaves ${…}; takes stages golatest and gen for images; misses the syntax",
    ),
    RealFile(
        repository="moby/buildkit",
        path="frontend/dockerfile/cmd/dockerfile-frontend/Dockerfile",
        sha256="4d648fe1b0ef4b1cd1190727ad1c6acf3607161b2e9fefc8eee8f20f928cd066",
        images=(_UPSTREAM, (8, "base", "tonistiigi/xx:1.9.0"), (10, "base", "golang:1.26-alpine3.23")),
        pattern="takes --platform=$BUILDPLATFORM for the image twice, stages for images",
    ),
    RealFile(
        repository="moby/buildkit",
        path="frontend/dockerfile/parser/testfiles/lk4d4-the-edge-case-generator/Dockerfile",
        sha256="15c93ceb73fb003a3e159f3301ce9a4785dda36c2431eaea1e2b114376a70c8d",
        images=((1, "base", "busybox:buildroot-2014.02"),),
        pattern="nothing: ONBUILD, comments that end in an escape and odd spacing name no image here",
    ),
    RealFile(
        repository="moby/buildkit",
        path="hack/composefiles/compose.yaml",
        sha256="03df56bcce2f3dd9a873269e98e36160c42e8cbcca30b4b8999066bf55583448",
        images=(
            (7, "container", "moby/buildkit:local"),
            (27, "container", "otel/opentelemetry-collector-contrib:0.135.0"),
            (34, "container", "jaegertracing/all-in-one:latest"),
            (41, "container", "prom/prometheus:v2.48.1"),
            (53, "container", "grafana/grafana-oss:10.2.3"),
        ),
        builds=1,
        pattern="right on images; does not see the Dockerfile in ../.. that is built",
    ),
    RealFile(
        repository="moby/moby",
        path="Dockerfile",
        sha256="9acc18e1e54e9040de92bb9c58fe3575b210fcd63205761437ed81e9554262fd",
        arguments={"TARGETOS": "linux", "TARGETARCH": "amd64", "TARGETPLATFORM": "linux/amd64"},
        images=(
            _SYNTAX,
            (46, "base", "tonistiigi/xx:1.9.0"),
            (50, "base", "busybox"),
            (56, "base", "golang:1.26.7-bookworm"),
            (78, "base", "distribution/distribution:3.1.1"),
            (84, "base", "debian:bookworm"),
            (415, "base", "docker/buildx-bin:0.36.1"),
            (416, "base", "docker/compose-bin:v5.5.0"),
            (639, "base", "docker:dind"),
        ),
        pattern="an argument holds an image made of two others; stages chosen by $TARGETOS, ${SYSTEMD}, ${FIREWALLD}, "
        "${DELVE_SUPPORTED} are seen as images",
    ),
    RealFile(
        repository="moby/moby",
        path="Dockerfile.windows",
        sha256="112f81e70412768c4a25c9c3b20730e8c6a138f7017416e0a64e5569d61ecef0",
        images=((159, "base", "mcr.microsoft.com/windows/servercore:ltsc2022"),),
        pattern="leaves ${WINDOWS_BASE_IMAGE}:${WINDOWS_BASE_IMAGE_TAG}; the escape token is a backtick",
    ),
    RealFile(
        repository="moby/moby",
        path="hack/dockerfiles/generate-files.Dockerfile",
        sha256="1c17ab180a988aee98aa9ee3bc60322b26331209790f9693675787980eb78492",
        images=(_SYNTAX, (8, "base", "golang:1.26.7-bookworm")),
        pattern="leaves ${…}; takes stages for images",
    ),
    RealFile(
        repository="moby/moby",
        path="integration/build/testdata/Dockerfile.TestBuildMultiStageCopy",
        sha256="c50f06e4815be23b37813600d2418c953187415923365f93a9a31e5ccb9a2ee8",
        images=((1, "base", "busybox"),),
        pattern="takes the stage base for an image six times",
    ),
    RealFile(
        repository="moby/moby",
        path="contrib/syscall-test/Dockerfile",
        sha256="4b85498318edcf7aad73af8efbcbf507306b1f4086dbb620d39331091c09358e",
        images=(_SYNTAX, (5, "base", "debian:trixie-slim")),
        pattern="leaves debian:${BASE_DEBIAN_DISTRO}-slim; misses the syntax",
    ),
    RealFile(
        repository="docker/buildx",
        path="Dockerfile",
        sha256="a8ef071f975ee880e9588fceae683f55413a346bd1792b62f4c7203d542cab88",
        arguments=_LINUX,
        images=(
            _SYNTAX,
            (18, "base", "tonistiigi/xx:1.9.0"),
            (19, "base", "golang:1.26-alpine3.23"),
            (20, "base", "moby/moby-bin:29.6"),
            (21, "base", "dockereng/cli-bin:29.6"),
            (22, "base", "moby/moby-bin:28.5"),
            (23, "base", "moby/moby-bin:27.5.1"),
            (24, "base", "dockereng/cli-bin:28.5"),
            (25, "base", "dockereng/cli-bin:27.5.1"),
            (26, "base", "registry:3.0.0"),
            (27, "base", "moby/buildkit:v0.32.1"),
            (28, "base", "docker/compose-bin:v5.1.0"),
            (29, "base", "crazymax/undock:0.9.0"),
            (160, "base", "alpine:3.23"),
            (174, "base", "docker:29.6"),
            (175, "base", "alpine:3.23"),
        ),
        pattern="leaves every version; a default is another argument; stage binaries-$TARGETOS seen as an image",
    ),
    RealFile(
        repository="docker/buildx",
        path="hack/dockerfiles/docs.Dockerfile",
        sha256="f0cfadc9fb8dfd2d90a0a377abb11b3ec78c9d720dea388818128eeedba77b76",
        images=(_SYNTAX, (8, "base", "golang:1.26-alpine3.23"), (14, "base", "alpine:3.23")),
        pattern="leaves ${…}; takes the stage gen for an image",
    ),
    RealFile(
        repository="docker/buildx",
        path="hack/dockerfiles/lint.Dockerfile",
        sha256="2af2da6fd2bc96de4274acd7dbfba13be5e953cd86cebc83cc934f8686f4c8c2",
        images=(_SYNTAX, (13, "base", "tonistiigi/xx:1.9.0"), (15, "base", "golang:1.26-alpine3.23")),
        pattern="takes --platform=… for the image; stage golangci-binary-${GOLANGCI_FROM_SOURCE} seen as an image",
    ),
    RealFile(
        repository="docker/cli",
        path="Dockerfile",
        sha256="9fe49d4ab9644bd426f57537c07a89fc500226a0100abc811a454b3b767398e3",
        arguments=_LINUX,
        images=(
            _SYNTAX,
            (35, "base", "tonistiigi/xx:1.9.0"),
            (37, "base", "golang:1.26.7-alpine3.23"),
            (48, "base", "golang:1.26.7-bookworm"),
            (121, "base", "docker/buildx-bin:0.34.1"),
            (122, "base", "docker/compose-bin:v5.1.3"),
        ),
        pattern="stages chosen by ${BASE_VARIANT} and ${TARGETOS} seen as images; blanks before AS are many",
    ),
    RealFile(
        repository="docker/cli",
        path="dockerfiles/Dockerfile.vendor",
        sha256="ecd6c444ddc1f940aef3f0bfd602ffe8e65cc0f93a8ae49b0f193ce5270727c5",
        images=(
            _SYNTAX,
            (11, "base", "golang:1.26.7-alpine3.23"),
            (42, "base", "psampaz/go-mod-outdated:v0.8.0"),
        ),
        pattern="leaves ${…}; RUN --mount=from= names a stage here",
    ),
    RealFile(
        repository="docker/cli",
        path="e2e/testdata/Dockerfile.connhelper-ssh",
        sha256="e735875dbea6f9a336bed34c9a3a328a51ead0f1769aac7ce131b56028cdc3ed",
        images=(_SYNTAX, (7, "base", "docker:29-dind")),
        pattern="leaves docker:${ENGINE_VERSION}-dind",
    ),
    RealFile(
        repository="docker/cli",
        path="e2e/compose-env.yaml",
        sha256="5628a476f7d4d553581504ed7cc533f969148d6562ee2de872f7d395ef703b11",
        images=((4, "container", "registry:3"),),
        builds=3,
        pattern="keeps the quotes: 'registry:3'; does not see three builds, one with an argument that FROM uses",
    ),
    RealFile(
        repository="docker/compose",
        path="Dockerfile",
        sha256="c8bbac18cef37c6cfff3cc9db0afd9584c63e82acfb57b6e67ef5adccd08c756",
        arguments=_LINUX,
        images=(
            _SYNTAX,
            (28, "base", "tonistiigi/xx:1.9.0"),
            (31, "base", "crazymax/osxcross:15.5-alpine"),
            (33, "base", "golangci/golangci-lint:v2.11.3-alpine"),
            (34, "base", "ghcr.io/google/addlicense:v1.0.0"),
            (36, "base", "golang:1.26.6-alpine3.23"),
            (147, "copy", "set"),
            (162, "base", "alpine"),
            (204, "base", "alpine"),
            (219, "base", "alpine"),
        ),
        pattern="misses COPY --from=set: no stage has this name (it is license-set), so an image is meant",
    ),
    RealFile(
        repository="docker/compose",
        path="pkg/e2e/fixtures/build-dependencies/compose.yaml",
        sha256="25468d0a25ab1d21bf13a9cc3dabcd732220c457c5f42b8194c6500661931824",
        builds=2,
        pattern="nothing to find; one build stands in for an image of the other",
    ),
    RealFile(
        repository="docker/compose",
        path="pkg/e2e/fixtures/build-dependencies/service.dockerfile",
        sha256="d57f979604ee7008ed388e43705da914b790d63ea57f66075f4a1f27e31a31fc",
        contexts={"base": "service:base"},
        pattern="takes base for an image: a named context stands in for it",
    ),
    RealFile(
        repository="docker/compose",
        path="pkg/e2e/fixtures/build-test/platforms/Dockerfile",
        sha256="e113d796ad1adcbb0b2ec67a0978c227a00f0aa1fa2983014a9af8a9666def71",
        images=((15, "base", "golang:alpine"), (21, "base", "alpine")),
        pattern="takes --platform=$BUILDPLATFORM for the image",
    ),
    RealFile(
        repository="docker/awesome-compose",
        path="react-rust-postgres/compose.yaml",
        sha256="f8dc6217ae46f04c0a0dd8895119eb8ff1f871f67e9b3a48536a37543a2637e8",
        images=((35, "container", "postgres:12-alpine"),),
        builds=2,
        pattern="right on images; does not see two Dockerfiles, each narrowed to a target",
    ),
    RealFile(
        repository="docker/awesome-compose",
        path="nginx-golang/backend/Dockerfile",
        sha256="97863622d1fe9f5b21ea46af60df0a2ff67a590d92a5960641a73d59bb865847",
        images=(
            (1, "syntax", "docker/dockerfile:1.4"),
            (2, "base", "golang:1.18-alpine"),
            (35, "copy", "gloursdocker/docker"),
        ),
        pattern="takes --platform=… and the stage builder for images; misses COPY --from=gloursdocker/docker",
    ),
    RealFile(
        repository="docker/awesome-compose",
        path="wasmedge-kafka-mysql/etl/Dockerfile",
        sha256="bdf238faf5a2d02a99bc988794ce1f5a3ed2ad70a3dc26f49cb19c800d1ff1b8",
        images=(_SYNTAX, (2, "base", "rust:1.64")),
        pattern="takes --platform=… for the image, the stage and scratch too",
    ),
    RealFile(
        repository="astral-sh/uv",
        path="Dockerfile",
        sha256="fe8a379a85c72fcad3ee6d2be33a70ab1e08de537b492922ef495f199118a761",
        images=(
            (1, "base", "ubuntu:24.04@sha256:d1e2e92c075e5ca139d51a140fff46f84315c0fdce203eab2807c7e495eff4f9"),
            (21, "copy", "ghcr.io/astral-sh/uv:latest"),
        ),
        pattern="takes --platform=… for the image and scratch for another; misses the one image that is not pinned",
    ),
    RealFile(
        repository="astral-sh/uv",
        path="crates/uv-trampoline/Dockerfile",
        sha256="df0435a1bc861242fa5ed966bb6d667392c902fc4a42c4c75a3ab9b5e0b93a6d",
        images=(
            (
                15,
                "base",
                "docker.io/ubuntu:26.04@sha256:4095ef613201918336b5d7d00be15d8b09c72ddb77c80bca249c255887a64d87",
            ),
        ),
        pattern="takes the stage base for an image twice",
    ),
    RealFile(
        repository="getsentry/self-hosted",
        path="docker-compose.yml",
        sha256="e304caa0c7798c886572f88d83949372609b2b8cc8722977d8984de64cde78d4",
        images=(
            (126, "container", "registry.gitlab.com/egos-tech/smtp"),
            (138, "container", "memcached:1.6.45-alpine"),
            (146, "container", "valkey/valkey:8.1.9-alpine"),
            (164, "container", "postgres:14.24-bookworm"),
            (178, "container", "edoburu/pgbouncer:v1.25.2-p0"),
            (197, "container", "confluentinc/cp-kafka:7.6.13"),
            (
                276,
                "container",
                "chrislusf/seaweedfs:4.40_large_disk@sha256:d07aa1dae03c687e0737b86130ded1b18474211a09e85d737fbe5508b8805139",
            ),
            (610, "container", "nginx:1.31.3-alpine"),
        ),
        problems=tuple((line, "unset-variable") for line in (110, 448, 463, 633, 654, 683, 706, 731)),
        builds=21,
        pattern="takes names of builds that are never pulled for images; leaves variables; keeps quotes; cannot "
        "see that twenty services get their image by a merge",
    ),
    RealFile(
        repository="getsentry/self-hosted",
        path="sentry/Dockerfile",
        sha256="a6d2f97fc0fc99be17693ca4e501d820946d5037db9ec3d853dd92368758f173",
        problems=((2, "unset-argument"),),
        pattern="takes ${SENTRY_IMAGE} for an image: it has no value without --build-arg",
    ),
    RealFile(
        repository="goharbor/harbor",
        path="make/photon/portal/Dockerfile",
        sha256="e31282a4ec4e476ecd44e2e9f598eb2eb80949407ab0be2ddedee6afa972660e",
        problems=((4, "unset-argument"), (29, "unset-argument")),
        pattern="takes ${NODE} and ${harbor_base_namespace}/… for images",
    ),
    RealFile(
        repository="goharbor/harbor",
        path="make/photon/registry/Dockerfile.binary",
        sha256="94a155b0cdb602329abf73ec8d21c2ba8a3ae327d4037b6849236dd5bd76b8a0",
        arguments={"golang_image": "golang:1.24"},
        images=((2, "base", "golang:1.24"),),
        pattern="cannot take the build argument, whose name is lower case",
    ),
    RealFile(
        repository="goharbor/harbor",
        path="src/portal/docker-build/Dockerfile",
        sha256="f8c6a150be4ce1c09b7ffcc3a43f1bede3f1bf777d601f62888ebdfb6750ea4b",
        images=((1, "base", "node:22.22.3"), (19, "base", "nginx:1.17")),
        pattern="nothing, as long as the stage's name is not asked for (as is lower case)",
    ),
    RealFile(
        repository="goharbor/harbor",
        path="tests/test-engine-image/Dockerfile.ui_test",
        sha256="f793ca9d7cb6c0b298f0d8338398d1c17cd622f49038f3f72fb2de3a6151e0e3",
        images=((2, "base", "ubuntu:20.04"), (17, "copy", "tool_builder")),
        pattern="misses COPY --from=tool_builder: no stage of this file, so an image",
    ),
    RealFile(
        repository="ollama/ollama",
        path="Dockerfile",
        sha256="32dc7b018b535cd45dcb814c4a66010ec58ee12b5fed6f8bb8fa3cb81200ac21",
        arguments={"TARGETARCH": "amd64"},
        images=(
            (17, "base", "rocm/dev-almalinux-8:7.2.1-complete"),
            (22, "base", "almalinux:8"),
            (156, "base", "nvcr.io/nvidia/l4t-jetpack:r35.4.1"),
            (176, "base", "nvcr.io/nvidia/l4t-jetpack:r36.4.0"),
            (296, "base", "ubuntu:24.04"),
        ),
        pattern="takes --platform=linux/… for the image seven times, stages "
        "${FLAVOR} and ${TARGETARCH}-archive for images",
    ),
    RealFile(
        repository="prometheus/prometheus",
        path="Dockerfile",
        sha256="82feacc57e47ccaa79328b47b17387adb4b9a36b512e74c4b027f67ec67a10fd",
        images=((3, "base", "quay.io/prometheus/busybox-linux-amd64:latest"),),
        pattern="leaves ${OS}-${ARCH} in the middle of the name",
    ),
    RealFile(
        repository="prometheus/prometheus",
        path="Dockerfile.distroless",
        sha256="117c14d6c85c075c6754ee131461c682495b831c9ff69f29e0b998c8f5fb79dc",
        images=((4, "base", "gcr.io/distroless/static-debian13:nonroot-amd64"),),
        pattern="leaves nonroot-${DISTROLESS_ARCH}",
    ),
    RealFile(
        repository="tonistiigi/xx",
        path="src/Dockerfile",
        sha256="63d0cd42f684e65442016dc2cd31a9acfdc8e7d3580812fe74d90fd1eaf7a25d",
        images=(
            _SYNTAX,
            (10, "base", "alpine"),
            (25, "base", "tonistiigi/bats-assert"),
            (27, "base", "alpine"),
            (33, "base", "alpine"),
            (42, "base", "alpine"),
        ),
        pattern="one argument is the default of another, and three FROM use it; stages seen as images",
    ),
    RealFile(
        repository="tonistiigi/xx",
        path="src/ld/Dockerfile",
        sha256="b7b7859dd5d93913738dedf49a9e3c2eb51290c0bd96b2faab965e8beefca757",
        images=(
            _SYNTAX,
            (12, "base", "tonistiigi/xx"),
            *((line, "base", "alpine:3.24") for line in (14, 62, 75, 99, 151, 189, 218)),
        ),
        pattern="takes --platform=… for the image eight times; a FROM right after a heredoc",
    ),
    RealFile(
        repository="distribution/distribution",
        path="Dockerfile",
        sha256="cacbc00b33bbc30ce37c452fc38cd1c5c1eaf9e7eb76675036a0bddea55f2297",
        images=(
            _SYNTAX,
            (16, "base", "tonistiigi/xx:1.9.0"),
            (17, "base", "golang:1.25.9-alpine3.23"),
            (62, "base", "alpine:3.23"),
        ),
        pattern="takes --platform=… for the image twice; leaves ${…}",
    ),
    RealFile(
        repository="distribution/distribution",
        path="dockerfiles/git.Dockerfile",
        sha256="abc41f2e5f5a6cb37d0924c42c3062e909cae3fab816984d981994b0993e33a4",
        images=(_SYNTAX, (12, "base", "alpine:3.23"), (15, "base", "golang:1.25.9-alpine3.23")),
        pattern="leaves ${…}; RUN --mount=from= names a stage here",
    ),
    RealFile(
        repository="distribution/distribution",
        path="tests/docker-compose-storage.yml",
        sha256="f0512f10faf019bba35b59f7d14b6f37e4caf9b851616727fd67594f1f77fb8c",
        images=(
            (3, "container", "docker.io/minio/minio:RELEASE.2023-10-16T04-13-43Z"),
            (20, "container", "docker.io/minio/mc:RELEASE.2023-10-14T01-57-03Z"),
        ),
        pattern="nothing",
    ),
    RealFile(
        repository="netbox-community/netbox-docker",
        path="Dockerfile",
        sha256="656d616e68729ab8c72c32e24707d5d689e326e279bfbf9c029df9cd59dbe1a2",
        arguments={"FROM": "ubuntu:24.04"},
        images=((2, "base", "ubuntu:24.04"), (49, "base", "ubuntu:24.04")),
        pattern="takes ${FROM} for an image: an argument of that name, declared again inside a stage",
    ),
    RealFile(
        repository="netbox-community/netbox-docker",
        path="docker-compose.yml",
        sha256="89048e5bb6dc447efc99121a64e612b5674a5474b5793e4c193b8f57fbac005b",
        images=(
            (3, "container", "docker.io/netboxcommunity/netbox:v4.1-3.0.2"),
            (49, "container", "docker.io/postgres:16-alpine"),
            (62, "container", "docker.io/valkey/valkey:8.0-alpine"),
            (77, "container", "docker.io/valkey/valkey:8.0-alpine"),
        ),
        pattern="leaves ${VERSION-v4.1-3.0.2}; two services get it by a merge",
    ),
    RealFile(
        repository="netbox-community/netbox-docker",
        path="docker-compose.test.yml",
        sha256="3ef7c2a12ebd59167a4ba059b7894df8521997bdba0bd6332ce39aa7c6535b80",
        images=(
            (3, "container", "docker.io/netboxcommunity/netbox:latest"),
            (42, "container", "docker.io/postgres:16-alpine"),
            (52, "container", "docker.io/valkey/valkey:8.0-alpine"),
        ),
        pattern="takes ${IMAGE-docker.io/netboxcommunity/netbox:latest} for an image",
    ),
    RealFile(
        repository="langfuse/langfuse",
        path="docker-compose.yml",
        sha256="e0076c484db5ca676dc62eda9241ff781ebf64aa7c980d7fddb2ed51dc8510bf",
        images=(
            (8, "container", "docker.langfuse.com/langfuse/langfuse-worker:4"),
            (99, "container", "docker.langfuse.com/langfuse/langfuse:4"),
            (123, "container", "docker.io/clickhouse/clickhouse-server:25.12"),
            (144, "container", "cgr.dev/chainguard/minio"),
            (165, "container", "docker.io/redis:7"),
            (182, "container", "docker.io/postgres:17"),
        ),
        pattern="leaves ${POSTGRES_VERSION:-17}",
    ),
    RealFile(
        repository="langfuse/langfuse",
        path="docker-compose.build.yml",
        sha256="32c4a0209a18b7ae8144d93eede4cd26b25769ef3eb9ff6d5fc2d88574c7c9b6",
        images=(
            (115, "container", "docker.io/clickhouse/clickhouse-server"),
            (135, "container", "cgr.dev/chainguard/minio"),
            (155, "container", "docker.io/redis:7"),
            (169, "container", "docker.io/postgres:17"),
        ),
        builds=2,
        pattern="does not see two builds; leaves ${POSTGRES_VERSION:-17}",
    ),
    RealFile(
        repository="open-telemetry/opentelemetry-demo",
        path="src/flagd-ui/Dockerfile",
        sha256="ca316eb2e0277ae9dee6123d243112d55946cebe1d193d2b60281a753f476e50",
        images=(
            (
                17,
                "base",
                "docker.io/hexpm/elixir:1.20.1-erlang-28.4-debian-bullseye-20260610-slim@sha256:ec29c781c91c98bd0d887fa5c41e75bd1b6ced83fc4a695af3371a577e500d58",
            ),
            (
                86,
                "base",
                "docker.io/debian:bullseye-20260610-slim@sha256:ff4b13408ab702565720c6b23582ebda7bfdddfe9ce2b8c5b49e6d40430fdb05",
            ),
        ),
        pattern="takes the stage base for an image twice",
    ),
    RealFile(
        repository="open-telemetry/opentelemetry-demo",
        path="src/react-native-app/android.Dockerfile",
        sha256="b38898e1954e6e8b4948f53e0d345e18b3dca8954f66c5134f3ffb29dca757fb",
        images=(
            _SYNTAX,
            (
                9,
                "base",
                "reactnativecommunity/react-native-android:v21.0@sha256:24ca7ab5a70ec0b78a81bdc5eeea5924c2531531d53971b6f2321aff08446c36",
            ),
        ),
        pattern="takes scratch for an image; misses the syntax",
    ),
    RealFile(
        repository="dotnet/dotnet-docker",
        path="samples/aspnetapp/Dockerfile.nanoserver",
        sha256="1dfc836abdb1642f4b95ed0ffe8828bc35fc02a02270ae5b840966b8ab8bb116",
        images=(
            (4, "base", "mcr.microsoft.com/dotnet/sdk:10.0-nanoserver-ltsc2022"),
            (17, "base", "mcr.microsoft.com/dotnet/aspnet:10.0-nanoserver-ltsc2022"),
        ),
        pattern="nothing; the escape token is a backtick",
    ),
    RealFile(
        repository="nodejs/docker-node",
        path="24/bookworm-slim/Dockerfile",
        sha256="6559803eb22208061df23fc176e6b6b5dff6f9f0cffe6c6955a1d95e53254075",
        images=((1, "base", "debian:bookworm-slim"),),
        pattern="nothing",
    ),
    RealFile(
        repository="nodejs/docker-node",
        path="Dockerfile-alpine.template",
        sha256="566aa12dd226ea14e52a50975acf96fa2a1cea301001b6e8216a805abc995bc4",
        images=((1, "base", "alpine:0.0"),),
        problems=((14, "unknown-instruction"), (41, "unknown-instruction")),
        pattern="takes a placeholder for an image: the file is a template, and lines to be filled in end its RUN",
    ),
    RealFile(
        repository="compose-spec/compose-spec",
        path="Dockerfile",
        sha256="3851278913b096e1579ebd915f06c875e533db3098e993c3d633515a7d599132",
        images=(_SYNTAX, (3, "base", "node:16.1"), (11, "base", "alpine"), (40, "base", "alpine")),
        pattern="takes --platform=${BUILDPLATFORM} for the image twice",
    ),
)
