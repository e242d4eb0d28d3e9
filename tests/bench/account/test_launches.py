"""Sums of launches."""

from __future__ import annotations

from samedge.bench.account.launches import Cost, Ledger, largest_first


def ledger() -> Ledger:
    made = Ledger()
    made.add("blocks.0", "linear", Cost(1, 100, 10, 20))
    made.add("blocks.0", "attention", Cost(1, 50, 7, 1))
    made.add("neck", "linear", Cost(1, 30, 3, 4))
    return made


def test_sums() -> None:
    made = ledger()
    assert made.total() == Cost(3, 180, 20, 25)
    assert made.total().moved == 45
    assert made.parts() == {"blocks.0": Cost(2, 150, 17, 21), "neck": Cost(1, 30, 3, 4)}
    assert made.kinds() == {"linear": Cost(2, 130, 13, 24), "attention": Cost(1, 50, 7, 1)}
    assert made.kinds(["neck"]) == {"linear": Cost(1, 30, 3, 4)}
    assert made.total(lambda entry: entry.kind == "attention").launches == 1


def test_order_and_json() -> None:
    assert [name for name, _ in largest_first(ledger().parts())] == ["blocks.0", "neck"]
    assert Cost(1, 2, 3, 4).to_json() == {
        "launches": 1, "flops": 2, "bytes_read": 3, "bytes_written": 4,
    }  # fmt: skip
