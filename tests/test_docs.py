"""What the documents name is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("docs/architecture.md", "CONTRIBUTING.md", "README.md", "CHANGELOG.md")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document: str) -> None:
    """From the document's own folder."""
    path = ROOT / document
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", path.read_text())
    assert [link for link in links if not (path.parent / link).is_file()] == []


@pytest.mark.parametrize("document", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_every_module_is_where_it_is_said_to_be(document: str) -> None:
    """A renamed module is renamed here as well."""
    named = set(re.findall(r"`((?:\w+/)+\w+\.py)`", (ROOT / document).read_text()))
    assert len(named) > 5
    assert [name for name in named if not any((base / name).is_file() for base in (ROOT, ROOT / "hpo"))] == []


def test_the_rooms_are_those_of_the_package() -> None:
    """As the list says that the import order is tested by."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    table = text.partition("## The rooms")[2].partition("## Three walks")[0]
    rooms = set(
        re.findall(r"`(\w+)/?`", "".join(line.split("|")[1] for line in table.splitlines() if line[:3] == "| `"))
    )
    there = {path.stem for path in (ROOT / "hpo").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert rooms == {name for name in there if not name.startswith("_")} - {"studies"}
