"""Commands about trained models: export one, measure it, let it predict."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from hpo.cli.options import AsJson, File, Storage, Study, open_study
from hpo.listing import print_json


def export(
    study: Study,
    output: Annotated[Path, typer.Option(help="The .h5 file to write; .keras and .json go beside it.")],
    storage: Storage = None,
    trial: Annotated[int | None, typer.Option(min=0, help="Another trial than the best.")] = None,
    no_retrain: Annotated[bool, typer.Option("--no-retrain", help="Take the trial's own best weights.")] = False,
    file: File = None,
    as_json: AsJson = False,
) -> None:
    """Retrain the best trial on all training images, measure it once on the test images, and save a proven model."""
    import os

    from hpo.devices import Slot, import_backend
    from hpo.export import export as run
    from hpo.noise import silenced
    from hpo.run_dir import RunDir

    os.environ.update(Slot.from_environment().environment())
    stored, say = open_study(study, storage), (lambda message: None) if as_json else print
    with silenced():
        import_backend()
        exported = run(
            stored, RunDir.from_environment(), output, number=trial, retrain=not no_retrain, file=file, announce=say
        )
    card = exported.card
    open_study(study, storage, write=True).set_user_attr(
        "exported", {name: card[name] for name in ("trial", "metrics")}
    )
    if as_json:
        print_json(card)
        return
    metrics = card["metrics"]
    print(f"Trial {card['trial']} of {card['study']}, weights {card['weights']}, {card['epochs']} epochs.")
    print(f"Test accuracy {metrics['test_accuracy']:.4f}, test loss {metrics['test_loss']:.4f}, read once.")
    print(f"Wrote {exported.h5}, {exported.keras} and {exported.card_path}; both models reload without hpo and agree.")
    print(f"Next:\n  hpo evaluate {exported.h5}")


def evaluate(
    model: Annotated[Path, typer.Argument(help="A .h5 or .keras file.")],
    dataset: Annotated[str | None, typer.Option(help="A data set, if the model's card names none.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure a saved model on the test images: accuracy, precision, recall, F1, confusion matrix."""
    import os

    from hpo.devices import Slot, import_backend
    from hpo.evaluate import evaluate_file
    from hpo.noise import silenced
    from hpo.run_dir import RunDir

    os.environ.update(Slot.from_environment().environment())
    with silenced():
        import_backend()
        measured = evaluate_file(model, run_dir=RunDir.from_environment(), dataset=dataset)
    if as_json:
        print_json(measured.as_json())
        return
    from rich.console import Console

    from hpo.evaluation_view import render

    Console().print(render(measured))


def predict(
    model: Annotated[Path, typer.Argument(help="A .h5 or .keras file.")],
    images: Annotated[list[Path], typer.Argument(help="Photos of any size or colour mode.")],
    invert: Annotated[bool, typer.Option("--invert", help="For dark objects on a light ground.")] = False,
    as_json: AsJson = False,
) -> None:
    """Name what is on photos: class and probability."""
    import os

    from hpo.devices import Slot, import_backend
    from hpo.noise import silenced
    from hpo.predict import predict_files

    os.environ.update(Slot.from_environment().environment())
    with silenced():
        import_backend()
        predictions = predict_files(model, images, invert=invert)
    if as_json:
        print_json([prediction.as_json() for prediction in predictions])
        return
    for prediction in predictions:
        print(f"{prediction.path}: {prediction.class_name} ({prediction.probability:.1%})")
        if prediction.warning:
            print(f"  warning: {prediction.warning}", file=sys.stderr)
