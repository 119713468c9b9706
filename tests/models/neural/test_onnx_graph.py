"""Networks as ONNX: `write_onnx` itself compares what comes out of the file with what the network says."""

import pytest
from support.planted import fitted, sessions, timed

from llmseq_cli.models.neural.onnx_graph import NotExportableError, write_onnx


def test_hstu_is_written(tmp_path):
    pytest.importorskip("onnxruntime")
    write_onnx(fitted("hstu", {"epochs": 1, "dim": 8}, train=sessions(60))[0], tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").stat().st_size > 0


def test_a_network_that_reads_times_is_refused(tmp_path):
    model, _ = fitted("hstu", {"epochs": 1, "dim": 8, "time": "bias"}, train=timed(60))
    with pytest.raises(NotExportableError, match="times of a session"):
        write_onnx(model, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
