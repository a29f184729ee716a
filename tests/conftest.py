"""Shared fixtures. RTRNN_ISA forces an instruction set for the whole run; RTRNN_MODELS points at the recorded reference networks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from small_networks import gru_onnx, gru_rtrnn

import rtrnn

#: Test modules whose outcome depends on the instruction set: tools/test runs them on each, and all others on the best alone.
NUMBERS = frozenset(
    {
        "test_accuracy",
        "test_batch",
        "test_convolution",
        "test_golden",
        "test_layers",
        "test_models",
        "test_nam",
        "test_ops",
        "test_precision",
        "test_rltools",
        "test_rtneural",
        "test_silero",
        "test_stream",
        "test_trace",
        "test_wiring",
    }
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.stem in NUMBERS:
            item.add_marker("numbers")


def pytest_report_header() -> list[str]:
    return [
        f"rtrnn {rtrnn.__version__}, ISA {os.environ.get('RTRNN_ISA') or rtrnn.isa_available()[0]} of {rtrnn.isa_available()}",
        f"reference networks: {os.environ.get('RTRNN_MODELS') or 'none (RTRNN_MODELS is not set)'}",
    ]


@pytest.fixture(scope="session")
def models() -> Path:
    """The folder of recorded reference networks."""
    path = os.environ.get("RTRNN_MODELS")
    if not path:
        pytest.skip("RTRNN_MODELS is not set: the recorded reference networks are not at hand")
    return Path(path)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A small policy as a .rtrnn file."""
    return gru_rtrnn(tmp_path / "gru.rtrnn")


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """The same as an ONNX file with its state as input and output."""
    return gru_onnx(tmp_path / "gru.onnx")
