"""An evaluation as tables for the terminal."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from hpo.text import figure_text
from hpo.trial.measures import ClassMeasures, Evaluation

_HIGHLIGHTED = 5  # confusions that are bold
_WIDEST = 12  # classes whose confusion matrix fits into a terminal


def render(evaluation: Evaluation) -> Group:
    """The summary line, the table of classes and the confusion matrix with its largest confusions in bold red.

    With more than twelve classes the matrix does not fit, and a list of the largest confusions replaces it.
    """
    wrong = len(evaluation.misclassified)
    summary = Text.assemble(
        (f"accuracy {evaluation.accuracy:.2%}", "bold"),
        f"  loss {figure_text(evaluation.loss)}  {wrong:,} of {evaluation.images:,} images wrong"
        f"  {evaluation.seconds:.1f} s",
    )
    confusions = _matrix if len(evaluation.classes) <= _WIDEST else _list
    return Group(summary, _classes(evaluation), confusions(evaluation))


def largest_confusions(evaluation: Evaluation) -> list[tuple[int, int]]:
    """The pairs of a true and a predicted label that are confused most often, most frequent first; at most five."""
    counts = [
        (count, true, predicted)
        for true, row in enumerate(evaluation.confusion)
        for predicted, count in enumerate(row)
        if true != predicted and count
    ]
    counts.sort(key=lambda item: -item[0])
    return [(true, predicted) for _, true, predicted in counts[:_HIGHLIGHTED]]


def _classes(evaluation: Evaluation) -> Table:
    table = Table("class", title="Per class", title_justify="left")
    for heading in ("precision", "recall", "F1", "support"):
        table.add_column(heading, justify="right")
    for measures in evaluation.classes:
        table.add_row(*_row(measures))
    table.add_section()
    for measures in (evaluation.macro, evaluation.weighted):
        table.add_row(*_row(measures))
    return table


def _row(measures: ClassMeasures) -> tuple[Text, ...]:
    # Text instead of str: Rich would read square brackets in a class name as markup.
    figures = (f"{measures.precision:.3f}", f"{measures.recall:.3f}", f"{measures.f1:.3f}", f"{measures.support:,}")
    return Text(measures.name), *map(Text, figures)


def _matrix(evaluation: Evaluation) -> Table:
    """A row per true class and a column per predicted label; ten classes fit into 80 characters."""
    table = Table(title="Confusions: true classes down, predicted across", title_justify="left")
    table.add_column("", justify="right")
    table.add_column("true")
    for label in range(len(evaluation.classes)):
        table.add_column(str(label), justify="right")
    highlighted = set(largest_confusions(evaluation))
    for true, row in enumerate(evaluation.confusion):
        styles = ["bold red" if (true, i) in highlighted else "green" if i == true else "dim" for i in range(len(row))]
        cells = [Text(str(count) if count else "·", style) for count, style in zip(row, styles, strict=True)]
        table.add_row(Text(str(true)), Text(evaluation.classes[true].name), *cells)
    return table


def _list(evaluation: Evaluation) -> Table:
    table = Table("true", "predicted", title="Largest confusions", title_justify="left")
    table.add_column("images", justify="right")
    for true, predicted in largest_confusions(evaluation):
        names = (Text(evaluation.classes[label].name) for label in (true, predicted))
        table.add_row(*names, f"{evaluation.confusion[true][predicted]:,}")
    return table
