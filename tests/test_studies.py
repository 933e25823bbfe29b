"""The studies that ship with hpo: each loads, and each comparison's settings are what their reports say."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo import Comparison, Setting
from hpo.datasets import Dataset, Split
from hpo.datasets.merge import merge_classes
from hpo.study import catalog
from hpo.trial.model import build

STUDIES = {found.name: found.written for found in catalog.available()[0]}
COMPARISONS = {
    "fmnist-autoencoder": 4,
    "mnist-convnets": 6,
    "fmnist-convnets": 6,
    "fmnist5-architectures": 4,
    "fmnist5-optimizer": 2,
    "fmnist5-batch-size": 4,
    "fmnist5-learning-rate": 4,
    "fmnist5-epochs": 4,
    "fmnist5-transfer": 2,
    "fmnist-filters": 25,
    "fmnist-dense-units": 25,
    "fmnist-epochs": 25,
    "fmnist-learning-rate": 25,
    "fmnist-dropout": 30,
    "fmnist-conditions": 7,
    "fmnist-mlp": 3,
    "fmnist-pooling": 6,
    "fmnist-batch-size": 3,
    "fmnist-augmentation": 3,
    "fmnist-activation-optimizer": 35,
    "fmnist-regularization": 5,
    "fmnist-fan": 2,
}


def test_every_comparison_is_there_with_its_trials() -> None:
    """One line each in `hpo studies`; beside the two searches."""
    assert {name: study.trials for name, study in STUDIES.items() if isinstance(study, Comparison)} == COMPARISONS
    assert STUDIES.keys() - COMPARISONS == {"fmnist-cnn", "digits-cnn"}
    assert all(study.description for study in STUDIES.values())


def _with_parameters() -> list[Any]:
    return [
        pytest.param(study, setting, id=f"{study.name}-{index}")
        for study in STUDIES.values()
        if isinstance(study, Comparison)
        for index, setting in enumerate(study.settings)
        if "parameters" in setting.reported
    ]


@pytest.mark.parametrize(("study", "setting"), _with_parameters())
def test_models_have_the_reported_number_of_parameters(study: Comparison, setting: Setting) -> None:
    """Where the reports say it; a fan's is said to be about 144,000."""
    model = build(study.task, {**study.base, **setting.params}, _dataset(study), seed=0, precision="float32")
    tolerance = 0.002 if study.name == "fmnist-fan" else 0
    assert model.count_params() == pytest.approx(setting.reported["parameters"], rel=tolerance, abs=0)


@pytest.mark.parametrize(
    "study",
    [study for study in STUDIES.values() if isinstance(study, Comparison) and study.name != "fmnist5-transfer"],
    ids=lambda study: study.name,
)
def test_each_setting_can_be_built(study: Comparison) -> None:
    """And takes the images: a mistyped layer would only be found after minutes of training others."""
    dataset = _dataset(study)
    for setting in study.settings:
        model = build(study.task, {**study.base, **setting.params}, dataset, seed=0, precision="float32")
        if setting.name != "3: no dense layer":
            assert model.output_shape == (None, dataset.num_classes)


def _dataset(study: Comparison) -> Dataset:
    """Sixteen black images of the study's shape and classes."""
    names = merge_classes(tuple("0123456789"), study.task.merge)
    split = Split(np.zeros((16, 28, 28, 1), np.uint8), np.arange(16) % len(names))
    return Dataset("black", split, split, names, sha256="", seed=0, validation_fraction=0.5, subset=None)


RESULTS = (Path(__file__).parents[1] / "studies" / "RESULTS.md").read_text(encoding="utf-8")
SECTIONS = {part.partition("\n")[0]: part for part in RESULTS.split("\n## ")[1:]}


def test_every_comparison_has_its_results() -> None:
    """A section for each; the transfer needs weights that nobody ships."""
    expected = {name for name, study in STUDIES.items() if isinstance(study, Comparison)} - {"fmnist5-transfer"}
    missing = sorted(expected - SECTIONS.keys())
    assert not missing, f"studies/RESULTS.md lacks {', '.join(missing)}: hpo report --study NAME --output it"


def test_far_differences_are_explained() -> None:
    """Each section that has a bold difference has its study's remarks, which say why."""
    far = {name for name, section in SECTIONS.items() if re.search(r"^\|.*\*\*", section, flags=re.MULTILINE)}
    silent = sorted(name for name in far if not STUDIES[name].remarks or STUDIES[name].remarks not in SECTIONS[name])
    assert not silent, f"no remark on a bold difference in {', '.join(silent)}"
