"""A study as it was found: what a person wrote, where, by which code, and what a launch sets otherwise."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from hpo.study.comparison import Comparison
from hpo.study.search import Search

Study = Search | Comparison


@dataclass(frozen=True)
class FoundStudy:
    """A study and where it comes from.

    Args:
        written: what a person wrote.
        source: a study's name or a file's path, by which a worker finds it again.
        file: the file on this machine that it was read from.
        code: hashes of the code that builds and trains its models, by its parts.
        overrides: what a launch sets otherwise than the file, by the names of `with_overrides`.
        launched_as: its name in the storage, if that is another.
    """

    written: Study
    source: str = ""
    file: str = ""
    code: Mapping[str, str] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    launched_as: str | None = None

    @cached_property
    def definition(self) -> Study:
        """The study as it is launched.

        Raises:
            StudyError: an override breaks a rule.
        """
        return self.written.overridden(self.overrides, self.launched_as)

    @property
    def name(self) -> str:
        """The study's name in the storage."""
        return self.launched_as or self.written.name

    def with_overrides(
        self,
        *,
        name: str | None = None,
        trials: int | None = None,
        seconds: float | None = None,
        total_epochs: int | None = None,
        target: float | None = None,
        patience: int | None = None,
        max_epochs: int | None = None,
        subset: int | None = None,
        trial_timeout: float | None = None,
        max_retries: int | None = None,
    ) -> "FoundStudy":
        """This study with what a launch may set; None leaves it.

        Raises:
            StudyError: a value breaks its rule.
        """
        given = {
            "trials": trials,
            "seconds": seconds,
            "total_epochs": total_epochs,
            "target": target,
            "patience": patience,
            "max_epochs": max_epochs,
            "subset": subset,
            "trial_timeout": trial_timeout,
            "max_retries": max_retries,
        }
        kept = {option: value for option, value in given.items() if value is not None}
        found = dataclasses.replace(
            self, overrides={**self.overrides, **kept}, launched_as=self.launched_as if name is None else name
        )
        _ = found.definition  # now, and not when a worker reads it
        return found
