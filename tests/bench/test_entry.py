"""Exit codes of the command-line modules of the benchmark."""

from __future__ import annotations

from typing import Any

import pytest

from samedge.bench import entry
from samedge.errors import ParityError
from tests.bench.reports import mode, report, row


@pytest.mark.parametrize(
    ("refused", "fields", "expected"),
    [
        ({}, {}, 0),
        ({"refused": "no C++ compiler", "baseline": True}, {}, 0),
        ({"refused": "another mask"}, {}, ParityError.exit_code),
        ({"refused": "another mask"}, {"interrupted": True}, 130),
    ],
)
def test_exit_codes(
    refused: dict[str, Any],
    fields: dict[str, Any],
    expected: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [row("ours", mode(5.0)), row("other", **(refused or {"flat": mode(9.0)}))]
    parser = entry.parser("encoder", None)
    entry.add_files(parser)
    found = report(rows, **fields)
    assert entry.finish(found, parser.parse_args([]), []) == expected
    assert "ours" in capsys.readouterr().out
