"""The audit log's writer: order, a reader that is too slow, and the end."""

from __future__ import annotations

import io

from imgsign.admission import audit as audit_module
from imgsign.admission.audit import Audit


class Broken(io.BytesIO):
    """An output that takes nothing."""

    def write(self, raw: object) -> int:
        raise BrokenPipeError


def test_all_lines_are_written_in_order_by_the_end() -> None:
    out = io.BytesIO()
    audit = Audit(out)
    audit.start()
    for number in range(1000):
        audit.write(str(number).encode())
    audit.close(10)
    assert out.getvalue().split(b"\n") == [*(str(n).encode() for n in range(1000)), b""]


def test_what_the_reader_does_not_take_is_dropped_and_counted() -> None:
    dropped: list[int] = []
    audit = Audit(io.BytesIO(), dropped=lambda: dropped.append(1))
    for number in range(audit_module.WAITING + 5):
        audit.write(str(number).encode())
    assert len(dropped) == 5


def test_a_reader_that_went_away_stops_nothing() -> None:
    dropped: list[int] = []
    audit = Audit(Broken(), dropped=lambda: dropped.append(1))
    audit.start()
    for _ in range(3):
        audit.write(b"{}")
    audit.close(10)
    assert len(dropped) == 3
