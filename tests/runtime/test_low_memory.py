"""A session that runs out of memory says so, and goes on with less."""

from __future__ import annotations

from typing import Any

import pytest

from samedge._openvino import ov
from samedge.errors import DeviceError
from samedge.runtime import load
from samedge.runtime.backend import LoadOptions
from samedge.runtime.openvino.backend import OPENVINO
from samedge.runtime.session import Session
from tests.runtime.watched import Watched


@pytest.mark.parametrize("call", ["read_model", "compile_model"])
@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("Check failed: std::bad_alloc")])
def test_loading(
    samus_toy: Any, call: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    from samedge.runtime.openvino.compile import core

    core()

    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(ov.Core, call, fail)
    with pytest.raises(DeviceError, match=r"memory ran out while (reading|compiling)") as caught:
        load(samus_toy, precision="fp32", cache=False)
    assert "export" not in str(caught.value)


def test_a_call(samus_toy: Any, frame: Any) -> None:
    broken: list[str] = ["decoder"]

    def before(graph: str) -> None:
        if graph in broken:
            raise MemoryError("Unable to allocate 8.00 GiB for an array")

    with Session(samus_toy, Watched(OPENVINO, before), LoadOptions(cache=False), "") as session:
        with pytest.raises(DeviceError, match=r"memory ran out .*8\.00 GiB.*fewer objects"):
            session.segment(frame, points=[(10, 20)])
        broken.clear()
        assert session.segment(frame, points=[(10, 20)]).masks.shape == (1, 40, 56)
