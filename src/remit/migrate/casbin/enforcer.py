"""Reads a foreign Casbin policy with pycasbin itself.

Only this module and `remit.engine.differential.casbin_oracle` import casbin. A parser of our own could not guarantee to
drop, cut and keep the same parts of a row as Casbin.
"""

import io
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

import casbin
import casbin.util
from casbin.config import Config
from casbin.model import Model
from casbin.persist import load_policy_line

from remit.core.errors import RemitError
from remit.core.names import quote
from remit.engine.differential.casbin_oracle import register
from remit.migrate.finding import FindingId, Findings

FUNCTIONS: Final[Mapping[str, Callable[..., bool]]] = {
    "keyMatch": casbin.util.key_match_func,
    "keyMatch2": casbin.util.key_match2_func,
    "keyMatch3": casbin.util.key_match3_func,
    "keyMatch4": casbin.util.key_match4_func,
    "keyMatch5": casbin.util.key_match5_func,
    "regexMatch": casbin.util.regex_match_func,
}

_SECTIONS: Final = {
    "request_definition": "r",
    "policy_definition": "p",
    "policy_effect": "e",
    "matchers": "m",
    "role_definition": "g",
}


class ModelError(RemitError):
    """The text is no Casbin model."""


class CasbinRaisedError(RemitError):
    """Casbin has no answer: it raised an exception."""


class SourceRow(NamedTuple):
    """A line for Casbin's loader, and its origin: `file` and its line, or a table and its row's id."""

    file: str
    line: int
    text: str

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"


class LoadedRow(NamedTuple):
    """A row that Casbin has loaded: its type and its fields."""

    ptype: str
    fields: tuple[str, ...]
    source: SourceRow

    @property
    def place(self) -> str:
        return self.source.place


class Enforcer:
    """One model, the rows loaded into it, and Casbin's answers over them. Not thread-safe."""

    def __init__(self, model_text: str) -> None:
        """Raises ModelError if Casbin cannot use the text."""
        try:
            sections = Config.new_config_from_text(model_text)._data  # noqa: SLF001 (Config has no other way to list)
            model = casbin.Enforcer.new_model(text=model_text)
        except (RuntimeError, IndexError) as error:
            raise ModelError(str(error)) from error
        missing = [name for name, key in _SECTIONS.items() if key != "g" and key not in (model[key] or {})]
        if missing:
            raise ModelError(f"has no `{_SECTIONS[missing[0]]} = ...` in a section `[{missing[0]}]`")
        self.unread = [
            f"{key} in [{section}]"
            for section, entries in sections.items()
            for key in entries
            if key not in (model[_SECTIONS.get(section, "")] or {})
        ]
        """Definitions that Casbin does not read: a section or a number it does not expect."""
        try:
            self._enforcer = casbin.Enforcer(model)
        except RuntimeError as error:
            raise ModelError(f"{error}: `{quote(model['e']['e'].value)}`") from error
        self._model: Model = model
        self.request = _tokens(model, "r")
        self.columns = _tokens(model, "p")
        self.effect: str = model["e"]["e"].value.replace("p_", "p.")
        self.matcher: str = model["m"]["m"].value
        self.definitions = [key for section in ("r", "p", "e", "m") for key in model[section]]
        self.groups: Mapping[str, int] = {
            key: len(assertion.tokens) for key, assertion in (model["g"] or {}).items() if not assertion.params_tokens
        }
        """Role definitions by type: their number of fields."""
        self.conditional = [key for key, assertion in (model["g"] or {}).items() if assertion.params_tokens]

    def load(self, rows: Iterable[SourceRow], findings: Findings) -> list[LoadedRow]:
        """Loads these lines. Returns the rows that Casbin takes, in its own order. The other lines become findings."""
        loaded = [row for line in rows if (row := self._load(line, findings)) is not None]
        if not findings.refused():
            try:
                self._model.sort_policies_by_priority()
                self._enforcer.build_role_links()
            except (TypeError, RuntimeError) as error:
                findings.add(FindingId.ROW_UNREADABLE, "the policy", f"Casbin cannot load it: {error}")
        return loaded

    def _load(self, line: SourceRow, findings: Findings) -> LoadedRow | None:
        before = self._counts()
        try:
            load_policy_line(line.text, self._model)
        except IndexError:
            findings.add(
                FindingId.ROW_UNREADABLE, line.place, f"`{quote(line.text)}`: brackets do not match, or no row type"
            )
            return None
        added = [ptype for ptype, count in self._counts().items() if count > before[ptype]]
        if not added:
            if line.text and not line.text.startswith("#"):
                known = ", ".join(f"`{ptype}`" for ptype in before)
                findings.add(
                    FindingId.ROW_IGNORED, line.place, f"`{quote(line.text)}`: Casbin ignores it, expected {known}"
                )
            return None
        (ptype,) = added
        row = LoadedRow(ptype, tuple(self._rows(ptype)[-1]), line)
        return row if self._has_its_fields(row, findings) else None

    def _has_its_fields(self, row: LoadedRow, findings: Findings) -> bool:
        if row.ptype.startswith("p"):
            expected = len(self._model["p"][row.ptype].tokens)
            if len(row.fields) != expected:
                message = f"{len(row.fields)} fields behind `{row.ptype}`, the model has {expected}"
                findings.add(FindingId.WRONG_ARITY, row.place, f"`{quote(row.source.text)}`: {message}")
                return False
            return True
        expected = self.groups.get(row.ptype, 0)
        if len(row.fields) < expected:
            message = f"{len(row.fields)} fields behind `{row.ptype}`, the model has {expected}"
            findings.add(FindingId.WRONG_ARITY, row.place, f"`{quote(row.source.text)}`: {message}")
            return False
        if expected and len(row.fields) > expected:
            cut = ", ".join(row.fields[expected:])
            findings.add(FindingId.ROW_CUT, row.place, f"`{quote(row.source.text)}`: Casbin drops `{quote(cut)}`")
        return True

    def _counts(self) -> dict[str, int]:
        return {ptype: len(self._rows(ptype)) for section in ("p", "g") for ptype in self._model[section] or {}}

    def _rows(self, ptype: str) -> list[list[str]]:
        rows: list[list[str]] = self._model[ptype[0]][ptype].policy
        return rows

    def match_names(self, ptype: str, function: str) -> None:
        """Registers a matching function for the names of a role definition, as a program would."""
        self._enforcer.add_named_matching_func(ptype, FUNCTIONS[function])

    def match_domains(self, ptype: str, function: str) -> None:
        """Registers a matching function for the domains of a role definition, as a program would."""
        self._enforcer.add_named_domain_matching_func(ptype, FUNCTIONS[function])

    def register(self) -> None:
        """Registers remit's functions, as a program does with `remit.casbin.register`."""
        register(self._enforcer)

    def holds(self, ptype: str, name: str, held: str, *domain: str) -> bool:
        """The result of `g(name, held, domain)` in the matcher."""
        return bool(self._enforcer.get_named_role_manager(ptype).has_link(name, held, *domain))

    def allows(self, *values: str) -> bool:
        """Whether Casbin allows the question. Raises CasbinRaisedError if Casbin has no answer."""
        try:
            return bool(self._enforcer.enforce(*values))
        except Exception as error:  # A foreign matcher may raise any exception.
            raise CasbinRaisedError(f"{type(error).__name__}: {error}") from error


def lines_of(file: str, content: bytes) -> list[SourceRow]:
    """The lines of a CSV file as Casbin's file adapter returns them. Raises UnicodeDecodeError as the adapter does."""
    lines = io.BytesIO(content)
    return [SourceRow(file, number, line.decode().strip()) for number, line in enumerate(lines, start=1)]


def _tokens(model: Model, section: str) -> tuple[str, ...]:
    tokens: list[str] = model[section][section].tokens
    return tuple(token.removeprefix(f"{section}_") for token in tokens)
