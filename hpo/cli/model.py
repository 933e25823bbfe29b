"""Commands for trained models: export one, measure it, predict with it."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli.options import AsJson, File, Force, Storage, Study, open_study, path
from hpo.cli.tables import print_json
from hpo.text import figure_text, one_line

if TYPE_CHECKING:
    from hpo.saved_model.export import Exported

_ModelPath = Annotated[Path, typer.Argument(parser=path, help="A .h5 or .keras file.")]
_Code = Annotated[
    Path | None,
    typer.Option(parser=path, help="The file with the model's own layers, if it is not where its card says."),
]


def export(
    study: Study,
    output: Annotated[
        Path, typer.Option(parser=path, help="The .h5 file to write, with .keras and .card.json beside it; or .keras.")
    ],
    storage: Storage = None,
    trial: Annotated[int | None, typer.Option(min=0, help="A trial; else the best one.")] = None,
    no_retrain: Annotated[bool, typer.Option("--no-retrain", help="Take the trial's own best weights.")] = False,
    file: File = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Retrain the best trial on all training images, measure it once on the test images, and save a proven model."""
    from hpo.cli.stderr import silent_keras
    from hpo.files.run_dir import RunDir
    from hpo.saved_model.export import export as run

    stored, say = open_study(study, storage), (lambda message: None) if as_json else print
    with silent_keras():
        exported = run(
            stored,
            RunDir.from_environment(),
            output,
            number=trial,
            retrain=not no_retrain,
            file=file,
            force=force,
            announce=say,
        )
    card = exported.card
    if as_json:
        print_json(card)
    else:
        _print_export(exported, output)
    # This comes last: the files are there even if the database is away now.
    open_study(study, storage, write=True).set_user_attr(
        "exported", {name: card[name] for name in ("trial", "metrics")}
    )


def _print_export(exported: "Exported", output: Path) -> None:
    card = exported.card
    metrics = card["metrics"]
    print(f"Trial {card['trial']} of {card['study']}, weights {card['weights']}, {card['epochs']} epochs.")
    print(f"Test accuracy {metrics['test_accuracy']:.4f}, test loss {figure_text(metrics['test_loss'])}, read once.")
    shape = "x".join(map(str, card["input"]["shape"]))
    print(f"Takes images of {shape}, uint8 pixels from 0 to 255. Gives {card['outputs']}.")
    written = [*map(str, exported.models), str(exported.card_path)]
    needed = f"with {' and '.join(card['code'])}" if card["code"] else "without hpo"
    imports = ", which imports hpo," if exported.needs_hpo else ""
    agree = "both models reload {} and agree" if len(exported.models) == 2 else "the model reloads {} and agrees"
    print(f"Wrote {', '.join(written[:-1])} and {written[-1]}; {agree.format(needed + imports)}.")
    if exported.left_out:
        print(f"Not written: {output}, which cannot hold this model ({exported.left_out}).")
    print(f"Next:\n  hpo evaluate {shlex.quote(str(exported.models[0]))}")


def evaluate(
    model: _ModelPath,
    dataset: Annotated[str | None, typer.Option(help="The data set; else the one on the model's card.")] = None,
    code: _Code = None,
    as_json: AsJson = False,
) -> None:
    """Measure a saved model on the test images: accuracy, precision, recall, F1, confusion matrix."""
    from hpo.cli.stderr import silent_keras
    from hpo.files.run_dir import RunDir
    from hpo.saved_model.evaluation import evaluate_file

    with silent_keras():
        measured = evaluate_file(model, run_dir=RunDir.from_environment(), dataset=dataset, code=code)
    if as_json:
        print_json(measured.as_json())
        return
    from rich.console import Console

    from hpo.cli.evaluation_view import render

    Console().print(render(measured))


def predict(
    model: _ModelPath,
    images: Annotated[list[Path], typer.Argument(parser=path, help="Photos of any size or colour mode.")],
    invert: Annotated[bool, typer.Option("--invert", help="Use it for dark objects on a light background.")] = False,
    code: _Code = None,
    as_json: AsJson = False,
) -> None:
    """Classify photos: the class of each and its probability."""
    from hpo.cli.stderr import silent_keras
    from hpo.saved_model.prediction import predict_files

    with silent_keras():
        predictions, errors = predict_files(model, images, invert=invert, code=code)
    if as_json:
        print_json([prediction.as_json() for prediction in predictions])
    for prediction in [] if as_json else predictions:
        print(f"{prediction.path}: {prediction.class_name} ({prediction.probability:.1%})")
        if prediction.warning:
            print(f"  warning: {prediction.warning}", file=sys.stderr)
    for error in errors:
        print(one_line(f"hpo: {error}"), file=sys.stderr)
    if errors:
        raise typer.Exit(1)
