"""Reads the file `identities`. Every mistake is a diagnostic with file, line and column."""

import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from math import inf
from pathlib import Path
from typing import Final

from remit.core.diagnostics import Diagnostic
from remit.core.errors import RemitError
from remit.core.hints import did_you_mean
from remit.core.names import Principal, parse_principal, parse_tenant, quote
from remit.policy.read import yaml
from remit.policy.read.report import Diagnostics
from remit.policy.read.schema import Schema
from remit.policy.read.text import read_text
from remit.policy.read.yaml import Node, parse_yaml
from remit.service.identities.certificate_names import CertificateName, NameType
from remit.service.identities.identities import (
    ClaimsRow,
    Identities,
    OpaqueToken,
    Template,
    name_of_token,
)
from remit.service.identities.issuer import Issuer
from remit.service.identities.key_set import ALGORITHMS
from remit.service.identities.values import parse_digest, parse_fingerprint, parse_https, parse_short_name, parse_time
from remit.service.limits import DEFAULT, CallLimit, CallLimits

MOST_BYTES: Final = 4_194_304
"""Size of the largest file."""
MOST_TOKENS: Final = 2
"""Tokens of one row: the old one and the new one, while a caller changes over."""
MOST_SKEW_S: Final = 60
MOST_AGE_S: Final = 86_400
_MUTABLE: Final = frozenset(
    {"email", "preferred_username", "name", "nickname", "given_name", "family_name", "upn", "unique_name"}
    | {"phone_number", "username", "user_name"}
)
"""Claims that people or their administrators may change: two people may have one value, one after the other."""
_VERIFIED: Final = frozenset({"iss", "aud", "exp", "nbf", "iat", "jti", "cnf"})
"""Claims that count before a row does."""
_NUMBER: Final = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,6})?").fullmatch
_CREDENTIALS: Final = (*NameType, "jwt", "token")


class IdentitiesError(RemitError):
    """The file `identities` does not load; carries every diagnostic."""

    def __init__(self, diagnostics: tuple[Diagnostic, ...], revision: str = "") -> None:
        super().__init__("\n".join(map(str, diagnostics)))
        self.diagnostics = diagnostics
        self.revision = revision
        """SHA-256 of the file; '' if it cannot be read."""


def read_identities(path: Path) -> Identities:
    """Raises IdentitiesError, also if the file cannot be read."""
    file = str(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise IdentitiesError((Diagnostic(file, 0, 0, "is not a regular file"),))
        with path.open("rb") as opened:
            content = opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise IdentitiesError((Diagnostic(file, 0, 0, f"cannot be read: {error.strerror or error}"),)) from None
    return parse_identities(file, content, path.parent)


def parse_identities(file: str, content: bytes, folder: Path) -> Identities:
    """The file's content. Relative paths in it are below `folder`. Raises IdentitiesError."""
    revision = sha256(content).hexdigest()
    report = Diagnostics()
    found = Identities()
    if len(content) > MOST_BYTES:
        report.add(file, 0, 0, f"is too large: expected at most {MOST_BYTES} bytes")
    else:
        text = read_text(file, content, report)
        document = parse_yaml(file, text, report) if text is not None else None
        if document is not None:
            found = _IdentitiesReader(Schema(file, report), folder).read(document, revision)
    if report:
        raise IdentitiesError(report.diagnostics, revision)
    return found


@dataclass(slots=True)
class _TokensRow:
    """A row that maps JWTs, with what messages need."""

    node: Node
    issuer: str
    row: ClaimsRow


@dataclass(slots=True)
class _IdentitiesReader:
    schema: Schema
    folder: Path
    issuers: dict[str, Issuer] = field(default_factory=dict)
    certificates: dict[CertificateName, Principal] = field(default_factory=dict)
    tokens: dict[bytes, OpaqueToken] = field(default_factory=dict)
    rows: list[_TokensRow] = field(default_factory=list)
    lines: dict[object, int] = field(default_factory=dict)
    """Where each credential and each fixed principal is mapped first."""
    principals: dict[Principal, Node] = field(default_factory=dict)

    def read(self, document: Node, revision: str) -> Identities:
        optional = ("issuers", "callers", "refused", "limits", "tenant_limits")
        fields = self.schema.fields(document, "the identities", optional=optional)
        for key, node in self.schema.entries(fields.get("issuers"), "`issuers`"):
            self._issuer(key, node)
        for node in self.schema.items(fields.get("callers"), "`callers`"):
            self._caller(node)
        self._refuse_templates_that_meet()
        refused = [
            self.schema.name(each, "a fingerprint", parse_fingerprint)
            for each in self.schema.items(fields.get("refused"), "`refused`")
        ]
        limits = CallLimits(
            self._limits(fields.get("limits"), "`limits`", parse_principal),
            self._limits(fields.get("tenant_limits"), "`tenant_limits`", parse_tenant),
        )
        return Identities(
            revision,
            self.issuers,
            self.certificates,
            self.tokens,
            {name: tuple(each.row for each in self.rows if each.issuer == name) for name in self.issuers},
            frozenset(filter(None, refused)),
            limits,
        )

    def _issuer(self, key: yaml.Scalar, node: Node) -> None:
        schema, what = self.schema, f"issuer `{quote(key.text)}`"
        name = schema.name(key, "a short name", parse_short_name)
        required = ("issuer", "audience", "algorithms")
        optional = ("jwks", "jwks_file", "ca", "skew_s", "max_age_s", "require_bound")
        fields = schema.fields(node, what, required=required, optional=optional)
        texts = {each: self._word(fields[each], f"`{each}`") for each in ("issuer", "audience") if each in fields}
        algorithms = [
            schema.choice(each, "an asymmetric algorithm", sorted(ALGORITHMS))
            for each in schema.items(fields.get("algorithms"), "`algorithms`")
        ]
        if "algorithms" in fields and not algorithms:
            schema.refuse(fields["algorithms"], f"{what} has no algorithm: expected one or more of `algorithms`")
        if isinstance(node, yaml.Mapping) and ("jwks" in fields) == ("jwks_file" in fields):
            schema.refuse(node, f"{what} needs its keys from one place: expected exactly one of `jwks` and `jwks_file`")
        if "ca" in fields and "jwks" not in fields:
            schema.refuse(fields["ca"], "`ca` is for keys that are fetched: expected it beside `jwks` only")
        url = schema.name(fields["jwks"], "`jwks`", parse_https) if "jwks" in fields else ""
        paths = {each: self._path(fields[each], f"`{each}`") for each in ("jwks_file", "ca") if each in fields}
        skew_s = self._whole(fields.get("skew_s"), "`skew_s`", 0, MOST_SKEW_S)
        max_age_s = self._whole(fields.get("max_age_s"), "`max_age_s`", 1, MOST_AGE_S)
        bound = schema.boolean(fields.get("require_bound"), "`require_bound`")
        iss = texts.get("issuer")
        if name is None or not iss:
            return
        if not self._first(("iss", iss), fields["issuer"], f"issuer `{quote(iss)}`"):
            return
        self.issuers[name] = Issuer(
            name,
            iss,
            texts.get("audience") or "",
            frozenset(filter(None, algorithms)),
            url or "",
            paths.get("jwks_file"),
            paths.get("ca"),
            30 if skew_s is None else skew_s,
            3600 if max_age_s is None else max_age_s,
            bound,
        )

    def _caller(self, node: Node) -> None:
        schema = self.schema
        fields = schema.fields(node, "a caller", required=("as",), optional=_CREDENTIALS)
        principal = schema.name(fields["as"], "a principal", Template.parse) if "as" in fields else None
        named = [each for each in _CREDENTIALS if each in fields]
        if len(named) != 1:
            if isinstance(node, yaml.Mapping):
                names = ", ".join(f"`{each}`" for each in _CREDENTIALS)
                schema.refuse(node, f"a caller has {len(named)} credentials: expected exactly one of {names}")
            return
        (key,) = named
        if key == "jwt":
            self._claims(fields[key], fields.get("as", node), principal)
            return
        if principal is not None and principal.claim:
            schema.refuse(fields["as"], f"`{principal}` takes the claim of a JWT: expected it beside `jwt` only")
            principal = None
        fixed = Principal(principal.before) if principal is not None else None
        if fixed is not None:
            self.principals.setdefault(fixed, fields["as"])
        if key == "token":
            self._tokens(fields[key], fixed)
            return
        name = schema.name(fields[key], f"`{key}`", lambda text: CertificateName.parse(NameType(key), text))
        if name is not None and self._first(name, fields[key], f"the {key} `{quote(name.text)}`") and fixed is not None:
            self.certificates[name] = fixed

    def _tokens(self, node: Node, principal: Principal | None) -> None:
        schema = self.schema
        entries = list(schema.items(node, "`token`"))
        if isinstance(node, yaml.Sequence) and not 1 <= len(entries) <= MOST_TOKENS:
            schema.refuse(
                node, f"a caller has {len(entries)} tokens: expected one, or {MOST_TOKENS} while it changes over"
            )
        for entry in entries:
            fields = schema.fields(entry, "a token", required=("sha256",), optional=("expires",))
            digest = schema.name(fields["sha256"], "a digest", parse_digest) if "sha256" in fields else None
            expires_s = schema.name(fields["expires"], "`expires`", parse_time) if "expires" in fields else inf
            if digest is None or expires_s is None:
                continue
            if self._first(digest, fields["sha256"], "the token") and principal is not None:
                self.tokens[digest] = OpaqueToken(principal, name_of_token(digest), expires_s)

    def _claims(self, node: Node, as_node: Node, principal: Template | None) -> None:
        issuer, claims = self._conditions(node)
        if principal is None or not issuer or not claims:
            return
        if principal.claim:
            self._refuse_claim(as_node, principal.claim)
            if not principal.before.startswith("user:"):
                self.schema.refuse(
                    as_node, f"`{principal}` lets an issuer name services: expected `user:` before a claim"
                )
        for each in self.rows:
            if each.issuer == issuer and _may_both_match(each.row.claims, claims):
                self.schema.refuse(
                    node,
                    f"one token may match this row and the row of line {each.node.line}: expected a claim with "
                    "another value in each",
                )
                return
        if not principal.claim:
            self.principals.setdefault(Principal(principal.before), as_node)
        self.rows.append(_TokensRow(as_node, issuer, ClaimsRow(principal, claims)))

    def _conditions(self, node: Node) -> tuple[str, dict[str, str]]:
        """The issuer and the claims that a token must have; '' or no claims, with a diagnostic, if they are wrong."""
        schema = self.schema
        issuer, claims = "", {}
        for key, value in schema.entries(node, "`jwt`"):
            text = schema.text(value, f"`{quote(key.text)}`")
            if text is None:
                continue
            if key.text == "issuer":
                issuer = text
                if text not in self.issuers:
                    known = ", ".join(f"`{each}`" for each in self.issuers) or "an entry of `issuers`"
                    hint = did_you_mean(text, self.issuers)
                    schema.refuse(value, f"`{quote(text)}` is no short name of an issuer: expected {known}{hint}")
            else:
                self._refuse_claim(key, key.text)
                claims[key.text] = text
        if isinstance(node, yaml.Mapping):
            if "issuer" not in node.items:
                schema.refuse(node, "`jwt` lacks `issuer`: expected the short name of an entry of `issuers`")
            elif not claims:
                schema.refuse(
                    node, "`jwt` matches every token of the issuer: expected a claim too, such as `sub` or `azp`"
                )
        return issuer, claims

    def _refuse_claim(self, node: Node, claim: str) -> None:
        if claim in _MUTABLE:
            self.schema.refuse(
                node, f"the claim `{claim}` may change its owner: expected one that never does, as `sub`"
            )
        elif claim in _VERIFIED:
            self.schema.refuse(node, f"the claim `{claim}` names nobody: expected one such as `sub` or `azp`")

    def _refuse_templates_that_meet(self) -> None:
        """A person of one issuer must not become a person of another, or a caller with another credential."""
        filled = [each for each in self.rows if each.row.principal.claim]
        for number, each in enumerate(filled):
            own = each.row.principal
            for other in filled[:number]:
                same = other.issuer == each.issuer and other.row.principal == own
                if not same and own.meets(other.row.principal):
                    self.schema.refuse(
                        each.node,
                        f"`{own}` and `{other.row.principal}` of line {other.node.line} may give one principal to "
                        f"two people: expected a prefix of its own for each issuer, such as `user:{each.issuer}/{{{own.claim}}}`",
                    )
            for principal, node in self.principals.items():
                if own.meets(Template(principal)):
                    self.schema.refuse(
                        each.node,
                        f"`{own}` may give the principal `{principal}` of line {node.line}: expected a prefix, such as "
                        f"`user:{each.issuer}/{{{own.claim}}}`",
                    )

    def _limits(self, node: Node | None, what: str, parse: Callable[[str], str]) -> Mapping[str, CallLimit]:
        limits: dict[str, CallLimit] = {}
        for key, value in self.schema.entries(node, what):
            limit = self._limit(value, f"the limit of `{quote(key.text)}`")
            name = DEFAULT if key.text == DEFAULT else self.schema.name(key, what, parse)
            if name is not None and limit is not None:
                limits[name] = limit
        return limits

    def _limit(self, node: Node, what: str) -> CallLimit | None:
        fields = self.schema.fields(node, what, optional=("rate", "burst", "in_flight"))
        if "burst" in fields and "rate" not in fields:
            self.schema.refuse(fields["burst"], "`burst` is above a rate: expected `rate` too")
            return None
        burst = self._whole(fields.get("burst"), "`burst`", 1)
        in_flight = self._whole(fields.get("in_flight"), "`in_flight`", 1)
        rate = self._rate(fields.get("rate"))
        return CallLimit(rate, burst, in_flight) if rate is not None or burst is None else None

    def _rate(self, node: Node | None) -> float | None:
        text = self.schema.text(node, "`rate`") if node is not None else None
        if node is None or text is None:
            return None
        if not _NUMBER(text) or not float(text) > 0:
            self.schema.refuse(node, f"`{quote(text)}` is no rate: expected questions a second, such as `500` or `0.5`")
            return None
        return float(text)

    def _whole(self, node: Node | None, what: str, least: int, most: int = 10**9) -> int | None:
        text = self.schema.text(node, what) if node is not None else None
        if node is None or text is None:
            return None
        number = int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else -1  # noqa: PLR2004
        if not least <= number <= most:
            self.schema.refuse(node, f"`{quote(text)}` is not {what}: expected a whole number from {least} to {most}")
            return None
        return number

    def _word(self, node: Node, what: str) -> str | None:
        text = self.schema.text(node, what)
        if text is not None and (not text or not text.isprintable() or text != text.strip()):
            self.schema.refuse(node, f"`{quote(text)}` is not {what}: expected printable text without blanks at an end")
            return None
        return text

    def _path(self, node: Node, what: str) -> Path | None:
        text = self._word(node, what)
        return self.folder / text if text is not None else None

    def _first(self, key: object, node: Node, what: str) -> bool:
        """False, with a diagnostic, if an earlier row has the same key."""
        if key in self.lines:
            self.schema.refuse(node, f"{what} stands in line {self.lines[key]} too: expected one row for it")
            return False
        self.lines[key] = node.line
        return True


def _may_both_match(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    return all(other.get(name, value) == value for name, value in one.items())
