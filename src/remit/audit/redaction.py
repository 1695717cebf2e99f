"""Redaction of names in records, before a record gets its position in a chain.

`on_behalf_of=drop, principal=hash, acme/principal=keep`: a tenant's own rule overrides the rule for all tenants.
"""

import hmac
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

from remit.audit.record import HASHED, VIA, DecisionRecord
from remit.core.errors import InvalidNameError
from remit.core.names import parse_tenant
from remit.files import secret_problem

REDACTABLE: Final = ("caller", "on_behalf_of", "principal", "resource_id", "trace_id")
"""All other fields are required: what was decided, where, when, and by which rule and policy."""
_NEEDED: Final = {*DecisionRecord._fields, "seq", "hash", "time"} - {*REDACTABLE}
_LEAST_KEY_BYTES: Final = 32
_DIGITS: Final = 32


class RedactionMethod(StrEnum):
    HASH = "hash"
    DROP = "drop"
    KEEP = "keep"


Rules = Mapping[str, Mapping[str, RedactionMethod]]
"""By tenant, then by field. The rules of '' apply to all tenants."""


class RedactionKeyError(Exception):
    """A key cannot be read or used. The text says what to do."""


@dataclass(frozen=True, slots=True)
class RedactionKey:
    """The secret that names are hashed with. Only its holder can check whether a hash belongs to a name."""

    secret: bytes = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a file's content without surrounding blanks.

        Raises RedactionKeyError if the file cannot be read, is too short, or may be read by others.
        """
        try:
            secret, problem = path.read_bytes().strip(), secret_problem(path)
        except OSError as error:
            raise RedactionKeyError(f"the key file `{path}` cannot be read: {error.strerror}") from None
        if len(secret) < _LEAST_KEY_BYTES:
            raise RedactionKeyError(
                f"the key in `{path}` has {len(secret)} bytes: expected {_LEAST_KEY_BYTES} or more, such as "
                "`openssl rand -hex 32` prints"
            )
        if problem:
            raise RedactionKeyError(problem)
        return cls(secret)

    def hashed(self, text: str) -> str:
        """The first 128 bits of HMAC-SHA-256. Equal texts have equal hashes. Empty text stays empty."""
        return HASHED + hmac.digest(self.secret, text.encode(), "sha256").hex()[:_DIGITS] if text else ""


@dataclass(frozen=True, slots=True)
class Redaction:
    """Drops or hashes fields of records by its rules."""

    rules: Rules
    key: RedactionKey | None = None
    """Required if a rule says `hash`."""

    def __call__(self, record: DecisionRecord) -> DecisionRecord:
        changed: dict[str, str] = {}
        for name, how in {**self.rules.get("", {}), **self.rules.get(record.asked_tenant, {})}.items():
            if how is RedactionMethod.DROP:
                changed[name] = ""
            elif how is RedactionMethod.HASH:
                assert self.key is not None
                changed[name] = self.key.hashed(getattr(record, name))
        if "caller" in changed and record.detail:
            # The credential's name tells the caller.
            detail = {name: value for name, value in json.loads(record.detail).items() if name != VIA}
            changed["detail"] = json.dumps(detail, sort_keys=True, separators=(",", ":")) if detail else ""
        return record._replace(**changed)  # type: ignore[arg-type]


def parse_redaction(text: str) -> Rules:
    """Raises ValueError if the text is malformed. The error says what is wrong, and what may be redacted."""
    rules: defaultdict[str, dict[str, RedactionMethod]] = defaultdict(dict)
    for entry in (each.strip() for each in text.split(",")):
        target, _, how = (each.strip() for each in entry.partition("="))
        tenant, has_tenant, name = target.rpartition("/")
        if has_tenant:
            try:
                parse_tenant(tenant)
            except InvalidNameError as error:
                raise ValueError(f"`{entry}`: {error}") from None
        if name not in REDACTABLE:
            fields = ", ".join(f"`{each}`" for each in REDACTABLE)
            why = "is required in every record" if name in _NEEDED else "is not a field of a record"
            raise ValueError(f"`{entry}`: `{name}` {why}; what may be redacted is {fields}")
        if how not in ([*RedactionMethod] if has_tenant else [RedactionMethod.HASH, RedactionMethod.DROP]):
            raise ValueError(
                f"`{entry}`: `{how}` says nothing: expected `{name}=hash`, `{name}=drop`, or `TENANT/{name}=keep`"
            )
        if name in rules[tenant]:
            raise ValueError(f"`{entry}` is a second rule for `{target}`: expected one")
        rules[tenant][name] = RedactionMethod(how)
    return dict(rules)


def hashes(rules: Rules) -> bool:
    return any(how is RedactionMethod.HASH for own in rules.values() for how in own.values())
