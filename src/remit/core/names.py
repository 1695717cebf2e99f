"""The names of policy-language section 3. Each is parsed once, at the edge, into its own type."""

import re
from typing import Final, NewType

from remit.core.errors import InvalidNameError

Tenant = NewType("Tenant", str)
Namespace = NewType("Namespace", str)
"""Dotted segments; the empty text is the tenant itself."""
Principal = NewType("Principal", str)
"""`user:ID` or `service:ID`: who a question is about."""
Subject = NewType("Subject", str)
"""`user:`, `service:`, `group:` or `role:` with an ID: what a row may name."""
Word = NewType("Word", str)
"""A kind, an action, a relation, an operation or a service."""

INSTANCE: Final = Tenant("_instance")
"""The instance itself: asked like a tenant, but outside the tenant grammar."""
CALLERS: Final = Tenant("_callers")
"""The rights of callers: a folder in which a namespace is a tenant. Also outside the tenant grammar."""
WHOLE_TENANT: Final = Namespace("")

NAMESPACE_LIMIT: Final = 150
WORD_LIMIT: Final = 64
RESOURCE_LIMIT: Final = 63
RESOURCE_ID_LIMIT: Final = 512

_RESERVED: Final = frozenset({INSTANCE, CALLERS})

SEGMENT: Final = r"[a-z0-9][a-z0-9_-]*"
_TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}").fullmatch
is_namespace: Final = re.compile(rf"(?=.{{1,{NAMESPACE_LIMIT}}}\Z){SEGMENT}(?:\.{SEGMENT})*").fullmatch
is_word: Final = re.compile(rf"[A-Za-z][A-Za-z0-9_]{{0,{WORD_LIMIT - 1}}}").fullmatch
# Printable ASCII without the characters that break Casbin's CSV: space , " # \ | * ( ) [ ] { }
_ID = r"[!$%&'+\-./0-9:;<=>?@A-Z^_`a-z~]{1,256}"
is_principal: Final = re.compile(rf"(?:user|service):{_ID}").fullmatch
is_revision: Final = re.compile(r"[0-9a-f]{64}").fullmatch
_RESOURCE = re.compile(rf"[!-~]{{1,{RESOURCE_LIMIT}}}").fullmatch
is_subject: Final = re.compile(rf"(?:user|service|group|role):{_ID}").fullmatch

TENANT_GRAMMAR: Final = "1 to 63 of a-z, 0-9, `_` and `-`, beginning with a letter or digit"
NAMESPACE_GRAMMAR: Final = (
    f"segments of a-z, 0-9, `_` and `-`, each beginning with a letter or digit, joined by `.`; "
    f"at most {NAMESPACE_LIMIT} characters"
)
WORD_GRAMMAR: Final = f"a letter, then letters, digits and `_`; at most {WORD_LIMIT} characters"
RESOURCE_GRAMMAR: Final = f"1 to {RESOURCE_LIMIT} printable ASCII characters without blanks"
_ID_GRAMMAR = 'an ID of 1 to 256 printable ASCII characters without space and , " # \\ | * ( ) [ ] { }'
PRINCIPAL_GRAMMAR: Final = f"`user:` or `service:` with {_ID_GRAMMAR}"
SUBJECT_GRAMMAR: Final = f"`user:`, `service:`, `group:` or `role:` with {_ID_GRAMMAR}"


def is_tenant(text: str) -> bool:
    """True if the text is a tenant's name, `_instance` or `_callers`."""
    return bool(_TENANT(text)) or text in _RESERVED


def parse_tenant(text: str) -> Tenant:
    """A tenant's name, `_instance` or `_callers`."""
    if not is_tenant(text):
        raise invalid_name("tenant", text, TENANT_GRAMMAR)
    return Tenant(text)


def parse_namespace(text: str) -> Namespace:
    """A namespace, but not the tenant itself: refuses the empty text."""
    if not is_namespace(text):
        raise invalid_name("namespace", text, NAMESPACE_GRAMMAR)
    return Namespace(text)


def parse_principal(text: str) -> Principal:
    if not is_principal(text):
        raise invalid_name("principal", text, PRINCIPAL_GRAMMAR, "user")
    return Principal(text)


def parse_subject(text: str) -> Subject:
    if not is_subject(text):
        raise invalid_name("subject", text, SUBJECT_GRAMMAR, "user", "role")
    return Subject(text)


def parse_word(what: str, text: str) -> Word:
    """A word of the vocabulary; `what` names the sort of word in the message."""
    if not is_word(text):
        raise invalid_name(what, text, WORD_GRAMMAR)
    return Word(text)


def parse_kind(text: str) -> Word:
    return parse_word("kind", text)


def parse_action(text: str) -> Word:
    return parse_word("action", text)


def parse_relation(text: str) -> Word:
    return parse_word("relation", text)


def optional_namespace(text: str) -> Namespace:
    """A namespace, or the empty text for the tenant itself."""
    return parse_namespace(text) if text else WHOLE_TENANT


def parse_resource(text: str) -> str:
    """The name of a dedicated resource."""
    if not _RESOURCE(text):
        raise invalid_name("resource's name", text, RESOURCE_GRAMMAR)
    return text


def parse_resource_id(text: str) -> str:
    """The id of the resource of a question; '' if it has none."""
    if len(text) > RESOURCE_ID_LIMIT or not text.isprintable():
        raise InvalidNameError(f"expected at most {RESOURCE_ID_LIMIT} printable characters")
    return text


def invalid_name(what: str, text: str, grammar: str, *prefixes: str) -> InvalidNameError:
    """The error for a text outside the grammar. `prefixes` are those that may be missing."""
    if not text:
        return InvalidNameError(f"{what} is missing: expected {grammar}")
    article = "an" if what[0] in "aeiou" else "a"
    unprefixed = ":" not in text and is_principal(f"user:{text}")
    likely = " or ".join(f"`{prefix}:{quote(text)}`" for prefix in prefixes) if unprefixed else ""
    hint = f"; did you mean {likely}?" if likely else ""
    return InvalidNameError(f"`{quote(text)}` is not {article} {what}: expected {grammar}{hint}")


def quote(text: str, limit: int = 80) -> str:
    """A wrong text, made safe for a message: printable, and cut after `limit` characters."""
    shown = "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text[:limit])
    return shown if len(text) <= limit else f"{shown}…"
