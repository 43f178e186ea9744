"""Whatever is sent: a well-formed denial or an error that is HTTP 400; never allowed unjudged, never a crash."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from imgsign.admission.answer import answer, audit_fields, refuse
from imgsign.admission.judgement import Judgement
from imgsign.admission.plan import Gate, Rulebook, plan
from imgsign.admission.review import Response, parse_review
from imgsign.errors import InvalidReview
from tests.admission import cluster
from tests.admission.bad_bodies import IMAGE, ODD, TYPED, bad_bodies, good, put
from tests.admission.cluster import POLICY, D
from tests.admission.objects import RESPONSE, make, pod_spec, review, to_bytes

BODIES = bad_bodies()
BOOK = Rulebook(cluster.settings(), {"policy.toml": POLICY})


def respond(raw: bytes, gate: Gate = Gate.VALIDATE) -> Response | InvalidReview:
    """What a server makes of a body, with a registry that never answers."""
    try:
        found = parse_review(raw)
    except InvalidReview as e:
        return e if e.uid is None else refuse(e.uid, "bad-review", e.message, e.hint)
    planned = plan(found, gate, BOOK)
    judged = {w.key: Judgement.undecided(w.reference, "unavailable", "no answer") for w in planned.wanted}
    response = answer(planned, judged)
    json.dumps(audit_fields(planned, judged, response))
    return response


def check(found: Response | InvalidReview) -> None:
    if isinstance(found, InvalidReview):
        assert found.uid is None
        assert found.message.isprintable()
        assert len(found.message) < 1000
        return
    RESPONSE.validate(json.loads(found.to_json()))


def test_there_are_more_than_two_hundred_bodies_and_each_is_another() -> None:
    assert len(BODIES) > 200
    assert len({raw for _, raw in BODIES}) > 200


def test_the_good_body_is_denied_for_its_image_alone() -> None:
    found = respond(to_bytes(good()))
    assert isinstance(found, Response)
    assert found.codes == ("rejected",)


@pytest.mark.parametrize("raw", [raw for _, raw in BODIES], ids=[name for name, _ in BODIES])
def test_a_bad_body_is_denied_or_an_error_and_never_patched(raw: bytes) -> None:
    found = respond(raw)
    check(found)
    assert isinstance(found, InvalidReview) or not found.allowed
    if len(raw) < 100_000:
        found = respond(raw, Gate.MUTATE)
        check(found)
        assert isinstance(found, InvalidReview) or found.patch == ()


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "not JSON: expecting value at line 1 column 1"),
        (b"[]", "not an AdmissionReview"),
        (put("apiVersion", "admission.k8s.io/v1beta1"), "not of apiVersion admission.k8s.io/v1 at apiVersion"),
        (put("request", 5), "expected object at request"),
        (put("request.uid", ""), "expected the uid of the request at request.uid"),
        (put("request.operation", "PATCH"), "unknown operation 'PATCH' at request.operation"),
        (put("request.object", None), "expected object at request.object"),
        (put("request.object.kind", "Deployment"), "expected kind Pod at request.object.kind"),
        (
            put("request.resource.resource", "configmaps"),
            "no images are looked for in 'v1 configmaps' at request.resource",
        ),
        (put("request.subResource", "token"), "no images are looked for in 'v1 pods/token' at request.resource"),
        (b" " * (8 * 1024 * 1024 + 1), "8388609 bytes are more than the limit of 8388608"),
        (b'{"a":[' + b"{}," * 500_000 + b"{}]}", "more than 400000 objects and lists"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_an_error_says_what_and_where(raw: bytes, message: str) -> None:
    with pytest.raises(InvalidReview) as caught:
        parse_review(raw)
    assert caught.value.message == message


def test_a_review_nested_as_deep_as_can_be_is_denied_or_an_error() -> None:
    old, new = good(), good()
    deep: Any = "end"
    for _ in range(400):
        deep = [deep]
    for document in old, new:
        document["request"]["object"]["spec"]["sidecarImage"] = deep
    new["request"].update(operation="UPDATE", oldObject=old["request"]["object"])
    raw = to_bytes(new)
    for more in range(0, 1200, 25):
        check(respond(raw.replace(b'"end"', b"[" * more + b"]" * more)))


@pytest.mark.parametrize("depth", [60, 300, 900, 940, 960, 970, 980, 990, 1000, 5000])
def test_depth_and_surrogates_together_are_an_error(depth: int) -> None:
    # What looks for lone surrogates writes the document again, and has less room left than what read it.
    raw = b'{"kind":"\\ud83d\\ude00","a":' + b"[" * depth + b"]" * depth + b"}"
    with pytest.raises(InvalidReview, match=r"^(nested too deeply|not an AdmissionReview)$"):
        parse_review(raw)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.sampled_from(ODD),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
PATHS = st.sampled_from([*TYPED, "request.options", "request.object.metadata.annotations", "request.kind"])


@given(st.binary(max_size=400))
@example(b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"a"}}')
@settings(max_examples=100)
def test_bytes_are_denied_or_an_error(raw: bytes) -> None:
    found = respond(raw)
    check(found)
    assert isinstance(found, InvalidReview) or not found.allowed


@given(st.data())
@settings(max_examples=100)
def test_changed_bytes_are_denied_or_an_error(data: st.DataObject) -> None:
    raw = bytearray(to_bytes(good()))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(raw) - 1))
        raw[start : start + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    for gate in Gate:
        found = respond(bytes(raw), gate)
        check(found)
        if isinstance(found, Response) and found.allowed and gate is Gate.VALIDATE:
            # The change may have made an exempted question of it, or another image; then that is what was judged.
            assert IMAGE.encode() not in raw or b'"DELETE"' in raw or b'"CONNECT"' in raw


@given(PATHS, JSON, PATHS, JSON)
@settings(max_examples=100)
def test_any_json_anywhere_is_denied_or_an_error(path: str, value: Any, other: str, more: Any) -> None:
    body = good()
    for where, new in ((path, value), (other, more)):
        *steps, last = where.split(".")
        place: Any = body
        try:
            for step in steps:
                place = place[int(step)] if isinstance(place, list) else place[step]
            place[int(last) if isinstance(place, list) else last] = new
        except (KeyError, IndexError, TypeError, ValueError):
            return
    try:
        raw = to_bytes(body)
    except UnicodeEncodeError:
        return
    found = respond(raw)
    check(found)
    assert isinstance(found, InvalidReview) or not found.allowed or body["request"]["object"]["spec"] != good()


IMAGES = st.text(max_size=40) | st.sampled_from(
    [f"registry.test/app@{D}", "registry.test/open/a", f"registry.test/open/a@{D}", IMAGE, "nginx", ""]
)


@given(
    st.lists(IMAGES, min_size=1, max_size=3),
    st.lists(IMAGES, max_size=2),
    st.lists(IMAGES, max_size=2),
    st.sampled_from(["Pod", "Deployment", "CronJob"]),
)
@settings(max_examples=100)
def test_no_object_is_allowed_unless_each_of_its_images_is(
    images: list[str], init: list[str], volumes: list[str], kind: str
) -> None:
    # Only this one is acceptable here: the registry never answers, and of the rest nothing is accepted unsigned.
    good_images = {f"registry.test/open/a@{D}"} | ({"registry.test/open/a"} if kind != "Pod" else set())
    undecided = {f"registry.test/app@{D}", ""} if kind != "Pod" else set()
    found = respond(to_bytes(review(kind, make(kind, pod_spec(images, init, [], volumes)))))
    check(found)
    assert isinstance(found, Response)
    assert found.allowed is ({*images, *init, *volumes} <= good_images | undecided)
