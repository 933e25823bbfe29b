"""The log lines of libraries are hidden, and nothing else is."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command import INSTANT, Hpo

LOGGED = r"""WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795658639.056319   21359 cpu_feature_guard.cc:227] This TensorFlow binary is optimized to use available.
To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow.
E0000 00:00:1795658659.961711   21359 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA error
2026-01-31 12:00:00.123456: W tensorflow/core/common_runtime/gpu/gpu_device.cc:2343] Cannot dlopen some GPU libraries.
WARNING:absl:You are saving your model as an HDF5 file.
WARNING:tensorflow:5 out of the last 5 calls triggered tf.function retracing.
/venv/lib/python3.11/site-packages/keras/src/layers/core/dense.py:107: UserWarning: Do not pass an `input_shape`.
  super().__init__(activity_regularizer=activity_regularizer, **kwargs)
"""
OWN = """INFO: 3 images are gray
E0000 is one of the codes
/home/me/studies/mine.py:7: UserWarning: fewer images than classes
  warnings.warn("fewer images than classes")
WARNING:root:mine
no end of line"""


@pytest.mark.parametrize("ends", ["", "; raise KeyError('a bug')"], ids=["all-well", "a-bug"])
def test_only_log_lines_of_libraries_are_left_out(ends: str) -> None:
    """What is written besides comes out when the block ends, however it ends."""
    between = "".join(own + logged for own, logged in zip(OWN[:-14].splitlines(True), [LOGGED] * 9, strict=False))
    script = (
        "import os; from hpo.devices.log_lines import without_log_lines\n"
        f"with without_log_lines(): os.write(2, {LOGGED + between + OWN[-14:]!r}.encode()){ends}"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (answer.stderr if not ends else answer.stderr.partition("Traceback")[0]) == OWN


def test_a_study_file_may_import_tensorflow(hpo: Hpo, write_study: Callable[[str], Path]) -> None:
    """Which shows nothing, whatever command reads the file; what the file writes itself is seen."""
    write_study("import sys\nprint('mine', file=sys.stderr)\nimport tensorflow as tf\ntf.constant(1.0)\n" + INSTANT)
    answer = hpo("studies")
    assert "instant" in answer.stdout
    assert answer.stderr == "mine\n"
