import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from remit.core.rows import Effect, Link, Rule
from remit.core.vocabulary import Kind
from remit.policy.format import format_file
from remit.policy.read.report import Diagnostics

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*(?::[A-Za-z][A-Za-z0-9_.@-]*)?").fullmatch


RULE_HEAD: Final = "p, subject, tenant, namespaces, kind, actions, effect"
LINK_HEAD: Final = "g, member, holds, scope"
REACH_HEAD: Final = "p, tenant, caller, owner, relation, effect"


class AccessAnswer(NamedTuple):
    """A question of the access plane in remit's names, and its expected answer."""

    principal: str
    action: str
    kind: str
    namespace: str
    effect: Effect


class ReachAnswer(NamedTuple):
    caller: str
    owner: str
    relation: str
    effect: Effect


def rows_file(head: str, rows: Iterable[Rule | Link | str]) -> bytes:
    """Renders rows below a comment, in the format of `remit fmt`. Keeps their order and drops duplicates."""
    texts = dict.fromkeys(row if isinstance(row, str) else row.text for row in rows)
    content = "".join(f"{line}\n" for line in (f"# {head}", *texts)).encode()
    # The loader reports rows that cannot be formatted.
    return format_file("rows.csv", content, Diagnostics()) or content


def vocabulary_file(kinds: Iterable[Kind]) -> bytes:
    lines = [
        f"  {scalar(kind.name)}: {{class: {kind.kind_class}, actions: [{', '.join(map(scalar, sorted(kind.actions)))}]}}"
        for kind in kinds
    ]
    return "".join(f"{line}\n" for line in ("kinds:", *lines)).encode()


def cases_file(name: str, access: Iterable[AccessAnswer], reach: Iterable[ReachAnswer] = ()) -> bytes:
    lines = [f"name: {scalar(name)}"]
    lines += _section("access", (each._asdict() for each in access))
    lines += _section("reach", (each._asdict() for each in reach))
    return "".join(f"{line}\n" for line in lines).encode()


def scalar(text: str) -> str:
    """Renders a text for YAML, quoted if YAML would otherwise read something else."""
    return text if _PLAIN(text) and text.lower() != "null" else "'" + text.replace("'", "''") + "'"


def _section(name: str, answers: Iterable[Mapping[str, str]]) -> list[str]:
    lines = []
    for answer in answers:
        fields = {key: value for key, value in answer.items() if value}
        fields["expect"] = fields.pop("effect")
        lines.append("  - {" + ", ".join(f"{key}: {scalar(value)}" for key, value in fields.items()) + "}")
    return [f"{name}:", *lines] if lines else []
