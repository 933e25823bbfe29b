"""The proof that saved models load and predict the same in a new process, without hpo if possible."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A new interpreter runs this without hpo: it shows that a file needs only Keras and its own code.
_RELOAD = """
import importlib.util, json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
asked = json.loads((folder / "asked.json").read_text())
answer = {"needs_hpo": False, "errors": {}}
sys.modules["hpo"] = None
import keras, numpy

def run(path):
    spec = importlib.util.spec_from_file_location("code_" + pathlib.Path(path).stem, path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

for path in asked["code"]:
    sys.path.append(str(pathlib.Path(path).parent))
    try:
        run(path)
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "hpo":
            raise
        del sys.modules["hpo"]
        answer["needs_hpo"] = True
        run(path)
images = numpy.load(folder / "images.npy")
for index, path in enumerate(asked["models"]):
    try:
        model = keras.models.load_model(path, compile=False)
        numpy.save(folder / f"{index}.npy", model.predict(images, batch_size=asked["batch_size"], verbose=0))
    except Exception as error:
        answer["errors"][path] = f"{type(error).__name__}: {error}"
(folder / "answer.json").write_text(json.dumps(answer))
"""

# The weights and the precision are the same; only the order of additions may differ.
_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Proof:
    """What a new process found out about saved models.

    Args:
        errors: what is wrong with a model, by its path; models without a fault are left out.
        needs_hpo: whether the code that the models need imports hpo.
    """

    errors: dict[Path, str]
    needs_hpo: bool = False


def prove(
    models: Sequence[Path], images: NDArray[np.uint8], expected: NDArray[Any], *, batch_size: int, code: Sequence[Path]
) -> Proof:
    """Load each of ``models`` in a new process and compare its outputs for ``images`` with ``expected``.

    Args:
        images: a whole number of batches if the models need that.
        code: files that register parts of the models; hpo can be imported only if they need it.
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "images.npy", images)
        asked: dict[str, Any] = {
            "models": [str(path.absolute()) for path in models],
            "code": [str(path.absolute()) for path in code],
            "batch_size": batch_size,
        }
        (folder / "asked.json").write_text(json.dumps(asked))
        run = subprocess.run(
            [sys.executable, "-P", "-c", _RELOAD, str(folder)], capture_output=True, text=True, check=False
        )
        if run.returncode != 0:
            last = (run.stderr.strip().splitlines() or ["no message"])[-1]
            return Proof({path: f"it does not load in a new process: {last}" for path in models})
        answer = json.loads((folder / "answer.json").read_text())
        errors = {}
        for index, path in enumerate(models):
            if error := answer["errors"].get(asked["models"][index]):
                errors[path] = f"it does not load in a new process: {reason(error)}"
                continue
            difference = float(np.abs(np.load(folder / f"{index}.npy") - expected).max())
            if not difference < _TOLERANCE * max(1.0, float(np.abs(expected).max())):
                errors[path] = f"it predicts otherwise than the model, by up to {difference:.3g}"
        return Proof(errors, answer["needs_hpo"])


def reason(error: str) -> str:
    """The sentence in an error of Keras that says why, on one line; it comes after everything that was read."""
    why = error.rpartition("Exception encountered: ")[2].partition("\n\n")[0]
    return " ".join(why.split()).partition(". ")[0][:200].rstrip(".:")
