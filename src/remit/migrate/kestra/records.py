import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from remit.core.names import quote
from remit.migrate.finding import FindingId, Findings


@dataclass(frozen=True, slots=True)
class Role:
    id: str
    name: str
    permissions: Mapping[str, tuple[str, ...]]
    managed: bool
    default: bool
    place: str


@dataclass(frozen=True, slots=True)
class Binding:
    group: bool
    """Whether `holder` is a group."""
    holder: str
    role: str
    namespace: str
    """Empty for the whole tenant."""
    place: str


@dataclass(frozen=True, slots=True)
class KestraGroup:
    id: str
    name: str
    members: tuple[str, ...]
    place: str


@dataclass(frozen=True, slots=True)
class User:
    id: str
    name: str
    service: bool
    place: str


class RecordReader:
    """Reads one JSON document. A malformed record becomes a finding and is left out."""

    def __init__(self, file: str, content: bytes, findings: Findings) -> None:
        self._file = file
        self._findings = findings
        self._records = self._parsed(content)

    def roles(self) -> list[Role]:
        roles = []
        for place, record in self._live():
            identity, name = self._text(record, "id", place), self._text(record, "name", place)
            permissions = self._permissions(record.get("permissions"), place)
            if identity and name and permissions is not None:
                managed, default = record.get("isManaged") is True, record.get("isDefault") is True
                roles.append(Role(identity, name, permissions, managed, default, place))
        return roles

    def bindings(self) -> list[Binding]:
        bindings = []
        for place, record in self._live():
            kind, holder = self._text(record, "type", place), self._text(record, "externalId", place)
            role = self._text(record, "roleId", place)
            namespace = self._text(record, "namespaceId", place, required=False)
            if kind and kind not in {"USER", "GROUP"}:
                self._refuse(place, f"`type` is `{quote(kind)}`: expected `USER` or `GROUP`")
            elif kind and holder and role and namespace is not None:
                bindings.append(Binding(kind == "GROUP", holder, role, namespace, place))
        return bindings

    def groups(self) -> list[KestraGroup]:
        groups = []
        for place, record in self._live():
            identity, name = self._text(record, "id", place), self._text(record, "name", place)
            members = record.get("members", [])
            if not isinstance(members, list):
                self._refuse(place, "`members` is no list")
            elif identity and name:
                found = [self._member(each, f"{place}.members[{index}]") for index, each in enumerate(members)]
                groups.append(KestraGroup(identity, name, tuple(each for each in found if each), place))
        return groups

    def users(self) -> list[User]:
        users = []
        for place, record in self._live():
            identity, name = self._text(record, "id", place), self._text(record, "username", place)
            if record.get("superAdmin") is True or record.get("instanceOwner") is True:
                self._findings.add(FindingId.INSTANCE_OWNER, place, f"`{quote(name or identity or '')}`")
            if identity and name:
                users.append(User(identity, name, record.get("type") == "SERVICE_ACCOUNT", place))
        return users

    def ids(self) -> list[str]:
        """User ids of a tenant access list, which holds texts or records with `userId`."""
        found = []
        for place, record in self._records:
            if isinstance(record, str) and record:
                found.append(record)
            elif isinstance(record, dict):
                identity = self._text(record, "userId", place)
                found += [identity] if identity else []
            else:
                self._refuse(place, "expected a user's id, or a record with `userId`")
        return found

    def _parsed(self, content: bytes) -> list[tuple[str, Any]]:
        try:
            document = json.loads(content)
        except (ValueError, RecursionError) as error:
            self._refuse(self._file, f"is not JSON: {error}")
            return []
        listed = document.get("results") if isinstance(document, dict) else document
        if not isinstance(listed, list):
            self._refuse(self._file, 'expected a list of records, or `{"results": [...]}`')
            return []
        if isinstance(document, dict) and document.get("total", len(listed)) != len(listed):
            self._refuse(self._file, f"holds {len(listed)} of {document['total']} records: export all pages")
        prefix = f"{self._file}: results" if isinstance(document, dict) else f"{self._file}: "
        return [(f"{prefix}[{index}]", record) for index, record in enumerate(listed)]

    def _live(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for place, record in self._records:
            if not isinstance(record, dict):
                self._refuse(place, "expected a record")
            elif record.get("deleted") is True:
                self._findings.add(FindingId.RECORD_DELETED, place, f"`{quote(str(record.get('id', '')))}`")
            else:
                yield place, record

    def _text(self, record: Mapping[str, Any], key: str, place: str, *, required: bool = True) -> str | None:
        value = record.get(key)
        if not required and value is None:
            return ""
        if not isinstance(value, str) or (required and not value):
            self._refuse(place, f"`{key}` is missing or no text")
            return None
        return value

    def _permissions(self, value: object, place: str) -> dict[str, tuple[str, ...]] | None:
        if value is None:
            return {}
        if not isinstance(value, dict) or not all(_is_texts(actions) for actions in value.values()):
            self._refuse(place, "`permissions` is no mapping of lists of actions")
            return None
        return {permission: tuple(dict.fromkeys(actions)) for permission, actions in value.items()}

    def _member(self, value: object, place: str) -> str:
        if isinstance(value, dict):
            identity = value.get("id")
            if value.get("membership") == "OWNER":
                self._findings.add(FindingId.GROUP_OWNER, place, f"`{quote(str(identity))}`")
            value = identity
        if not isinstance(value, str) or not value:
            self._refuse(place, "expected a user's id, or a record with `id`")
            return ""
        return value

    def _refuse(self, place: str, message: str) -> None:
        self._findings.add(FindingId.MALFORMED_RECORD, place, message)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def unique(records: Iterable[Role | KestraGroup | User], findings: Findings) -> None:
    """Reports two live records with the same id or name: they would become one."""
    ids: dict[str, str] = {}
    names: dict[str, str] = {}
    for record in records:
        for seen, text in ((ids, record.id), (names, record.name)):
            first = seen.setdefault(text, record.place)
            if first != record.place:
                findings.add(FindingId.NAME_COLLISION, record.place, f"`{quote(text)}` as at {first}")
