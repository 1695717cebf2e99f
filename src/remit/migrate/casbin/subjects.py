from collections.abc import Iterable, Sequence

from remit.core.errors import InvalidNameError
from remit.core.names import Subject, parse_subject, quote
from remit.migrate.finding import FindingId, Findings
from remit.migrate.name_mapping import encode_id

_PREFIXES = ("user", "service", "group", "role")


class Subjects:
    """Maps the names of people and roles in a Casbin policy to subjects.

    A name that others hold is a role. It is a group if it has the prefix `group:` and only people and groups hold it.
    Any other name is a user, or what its own prefix says.
    """

    def __init__(self, links: Sequence[tuple[str, str]], persons: Iterable[str], findings: Findings) -> None:
        """`links` are the (member, held) pairs of all g rows."""
        self._held = {held for _, held in links}
        self._persons = frozenset(persons)
        self._groups = _groups(links, self._held)
        self._findings = findings
        self._known: dict[str, Subject] = {}
        self._names: dict[str, str] = {}

    def holder(self, name: str, place: str) -> Subject | None:
        """The subject for a name in a row. None, with a finding, if there is none."""
        prefix, rest = _split(name)
        if name in self._held:
            text = f"group:{encode_id(rest)}" if name in self._groups else f"role:{encode_id(_role(name))}"
        elif prefix:
            text = f"{prefix}:{encode_id(rest)}"
        else:
            text = f"user:{encode_id(name)}"
        return self._parsed(name, text, place)

    def principal(self, name: str, place: str) -> Subject | None:
        """The user or service that asks under this name. None if only rows use the name."""
        if name not in self._persons and name in self._held:
            return None
        prefix, rest = _split(name)
        text = f"{prefix}:{encode_id(rest)}" if prefix in {"user", "service"} else f"user:{encode_id(name)}"
        if prefix in {"group", "role"} and name not in self._persons:
            return None
        return self._parsed(f"{name} (a person)" if name in self._held else name, text, place)

    def _parsed(self, name: str, text: str, place: str) -> Subject | None:
        known = self._known.get(name)
        if known is not None:
            return known
        try:
            subject = parse_subject(text)
        except InvalidNameError as error:
            self._findings.add(FindingId.NAME_UNUSABLE, place, f"`{quote(name)}`: {error}")
            return None
        other = self._names.setdefault(subject, name)
        if other != name:
            self._findings.add(
                FindingId.NAME_COLLISION, place, f"`{quote(name)}` and `{quote(other)}` would both be `{subject}`"
            )
            return None
        if subject.partition(":")[2] not in {name, _split(name)[1]} and not name.endswith(" (a person)"):
            self._findings.add(FindingId.NAME_MAPPED, place, f"`{quote(name)}` becomes `{subject}`")
        self._known[name] = subject
        return subject


def _split(name: str) -> tuple[str, str]:
    """Splits a name into one of our prefixes and the rest.

    The prefix is empty if the name has none, or nothing after it.
    """
    prefix, _, rest = name.partition(":")
    return (prefix, rest) if prefix in _PREFIXES and rest else ("", name)


def _role(name: str) -> str:
    prefix, rest = _split(name)
    return rest if prefix == "role" else name


def _groups(links: Sequence[tuple[str, str]], held: set[str]) -> set[str]:
    """The held names with prefix `group:` that no role holds."""
    groups = {name for name in held if _split(name)[0] == "group"}
    while True:
        in_role = {
            name
            for member, name in links
            if name in groups and (_split(member)[0] == "role" if member not in held else member not in groups)
        }
        if not in_role:
            return groups
        groups -= in_role
