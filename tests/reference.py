"""The second opinion: what docs/reference/policy-language.md says, in naive lines. No index, no Casbin, nothing of remit's.

Written from the specification and slow on purpose. A namespace "somewhere" is tried out: every namespace over the
policy's own segments and one that it does not name, one level deeper than any row goes.
"""

import itertools
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import NamedTuple

import yaml


class Answer(NamedTuple):
    effect: str
    reason: str
    place: str = ""
    """`file:line` of the deciding row."""


@cache
def covers(pattern: str, namespace: str) -> bool:
    if pattern == "**":
        return True
    head, subtree, _ = pattern.partition(".**")
    segments = [r"[^.]+" if segment == "*" else re.escape(segment) for segment in head.split(".")]
    return re.fullmatch(r"\.".join(segments) + (r"(\..+)?" if subtree else ""), namespace) is not None


def one_of(word: str, choice: str) -> bool:
    return choice == "*" or word in choice.split("|")


class Reference:
    def __init__(self, files: Mapping[str, bytes], tenant: str) -> None:
        def rows(file: str) -> Iterator[tuple[str, ...]]:
            for number, line in enumerate(files.get(file, b"").decode().splitlines(), start=1):
                if line.strip() and not line.strip().startswith("#"):
                    yield (f"{file}:{number:09}", *(field.strip() for field in line.split(",")))

        vocabulary = yaml.load(files["vocabulary.yaml"], yaml.BaseLoader)
        self.kinds, self.relations = vocabulary["kinds"], vocabulary.get("relations", {})
        self.operations = vocabulary.get("operations", {})
        self.side = {"instance"} if tenant == "_instance" else {"namespace", "tenant"}
        mine = [*rows(f"{tenant}/roles.csv"), *rows(f"{tenant}/bindings.csv")]
        managed = [] if tenant == "_instance" else list(rows("roles.csv"))
        self.p = [(place, *fields) for place, ptype, *fields in [*managed, *mine] if ptype == "p"]
        self.g = [(member, holds, scope) for _, ptype, member, holds, scope in (r for r in mine if r[1] == "g")]
        self.g = [(member, holds, scope.partition("/")[2] or "**") for member, holds, scope in self.g]
        self.reach_rows = [(place, *fields) for place, _, *fields in rows(f"{tenant}/reach.csv")]
        manifest = yaml.load(files.get(f"{tenant}/tenant.yaml", b"{}"), yaml.BaseLoader)
        self.access = manifest.get("access")
        self.levels = {"": manifest, **manifest.get("namespaces", {})}
        self.somewhere = self._somewhere()

    def _somewhere(self) -> list[str]:
        """Namespaces, one of each set that the rows tell apart."""
        patterns = {row[3] for row in self.p} | {scope for _, _, scope in self.g}
        segments = {part for pattern in patterns for part in pattern.split(".") if not part.startswith("*")}
        segments.add(next(name for name in "xyzabcdefghijklmnopqrstuvw0123456789" if name not in segments))
        depth = max((len(pattern.removesuffix(".**").split(".")) for pattern in patterns), default=0) + 1
        every = (".".join(name) for count in range(depth + 1) for name in itertools.product(segments, repeat=count))
        return list(
            {
                tuple(covers(pattern, namespace) for pattern in patterns): namespace
                for namespace in every
                if len(namespace) <= 150
            }.values()
        )

    def held(self, principal: str, namespace: str, *, any_scope: bool = False) -> set[str]:
        held = {principal}
        while more := {
            holds
            for member, holds, scope in self.g
            if member in held and holds not in held and (any_scope or covers(scope, namespace))
        }:
            held |= more
        return held

    def decide(self, principal: str, action: str, kind: str, namespace: str) -> Answer | None:
        """None where the question is malformed."""
        if kind not in self.kinds:
            return Answer("deny", "UNKNOWN_KIND")
        if action not in self.kinds[kind]["actions"]:
            return Answer("deny", "UNKNOWN_ACTION")
        if (self.kinds[kind]["class"] == "namespace") != (namespace != ""):
            return None
        if self.kinds[kind]["class"] not in self.side:
            return Answer("deny", "WRONG_CLASS")
        if self.access is not None and not self.held(principal, "", any_scope=True) & set(self.access):
            return Answer("deny", "NO_ACCESS")
        held = self.held(principal, namespace)
        fitting = [row for row in self.p if one_of(kind, row[4]) and one_of(action, row[5])]
        matching = [row for row in fitting if row[1] in held and covers(row[3], namespace)]
        for effect, reason in (("deny", "DENIED_BY_RULE"), ("allow", "ALLOWED_BY_RULE")):
            places = [row[0] for row in matching if row[6] == effect]
            if places:
                return Answer(effect, reason, _place(min(places)))
        elsewhere = [(each, self.held(principal, each)) for each in self.somewhere]
        if any(
            row[1] in there and covers(row[3], each)
            for each, there in elsewhere
            for row in fitting
            if row[6] == "allow"
        ):
            return Answer("deny", "OUT_OF_SCOPE")
        if any(row[1] in there for _, there in elsewhere for row in self.p):
            return Answer("deny", "NOT_GRANTED")
        return Answer("deny", "NO_BINDING")

    def reach(self, caller: str, owner: str, relation: str) -> Answer:
        if relation not in self.relations:
            return Answer("deny", "UNKNOWN_RELATION")
        if caller == owner:
            return Answer("allow", "SAME_NAMESPACE")
        for place, _, callers, owners, relations, effect in self.reach_rows:
            if covers(callers, caller) and covers(owners, owner) and one_of(relation, relations):
                return Answer(effect, "ALLOWED_BY_RULE" if effect == "allow" else "DENIED_BY_RULE", _place(place))
        if self.relations[relation].get("inherited") == "true" and caller.split(".")[
            : owner.count(".") + 1
        ] == owner.split("."):
            return Answer("allow", "INHERITED")
        return Answer("deny", "NO_MATCHING_RULE")

    def operation(self, principal: str, operation: str, namespace: str) -> list[Answer | None] | None:
        """One answer a part; None where the question is malformed."""
        parts = self.operations[operation]
        if any(self.kinds[part["kind"]]["class"] == "namespace" for part in parts) != (namespace != ""):
            return None
        answers = []
        for part in parts:
            kind, where = part["kind"], namespace if self.kinds[part["kind"]]["class"] == "namespace" else ""
            if part.get("at") == "parent":
                where = ".".join(namespace.split(".")[:-1])
                kind = kind if where else f"TENANT_{kind}"
            answers.append(self.decide(principal, part["action"], kind, where))
        return answers

    def dedicated(self, namespace: str, resource: str) -> tuple[str, str] | None:
        """The name of what serves the namespace, and the level that names it."""
        segments = namespace.split(".") if namespace else []
        for count in range(len(segments), -1, -1):
            level = ".".join(segments[:count])
            if resource in self.levels.get(level, {}).get("dedicated", {}):
                return self.levels[level]["dedicated"][resource], level
        return None


def _place(padded: str) -> str:
    file, _, line = padded.rpartition(":")
    return f"{file}:{int(line)}"
