import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from remit.core.errors import RemitError
from remit.core.names import quote
from remit.migrate.finding import FindingId
from remit.migrate.name_mapping import encode_segment

EVERYTHING: Final = "**"
_PROBE: Final = "probe"
_REGEX_SIGNS: Final = frozenset("\\^$+?()[]{}|*")
_PARAMETER: Final = {
    "keyMatch2": re.compile(r":[^/]+").fullmatch,
    "keyMatch3": re.compile(r"\{[^/{}]+\}").fullmatch,
    "keyMatch4": re.compile(r"\{[^/{}]+\}").fullmatch,
    "keyMatch5": re.compile(r"\{[^/{}]+\}").fullmatch,
}
PATTERN_FUNCTIONS: Final = ("keyMatch", *_PARAMETER)

_IN_BRACES: Final = r"\{[^/]+\}"
_PATTERN: Final = {
    "keyMatch": re.compile(r"\*").search,
    "keyMatch2": re.compile(r"\*|:[^/]").search,
    "keyMatch3": re.compile(rf"\*|{_IN_BRACES}").search,
    "keyMatch4": re.compile(rf"\*|{_IN_BRACES}").search,
    "keyMatch5": re.compile(rf"\*|{_IN_BRACES}").search,
    # `alice` matches every name that begins with it.
    "regexMatch": re.compile("").search,
}
_PATTERN_LIKE: Final = re.compile(rf"\*|/:[^/]|{_IN_BRACES}").search
_PLAIN_BRACES: Final = re.compile(r"\{[0-9,]*[^0-9,\\^$+?()\[\]{}|*][^\\^$+?()\[\]{}|*]*\}")
"""Braces that are plain text for a function: they are no parameter and repeat nothing."""


class UntranslatableError(RemitError):
    """A name that is no namespace, or a pattern that is not made of whole segments."""


def is_pattern(function: str, text: str) -> bool:
    """Whether a name also matches other names, if the program registers `function` for names."""
    return _PATTERN[function](text) is not None


def looks_like_a_pattern(text: str) -> bool:
    """Whether a name looks as if a function reads it as a pattern."""
    return _PATTERN_LIKE(text) is not None


class PatternReading(NamedTuple):
    """Our pattern for one of Casbin's patterns."""

    pattern: str
    narrowed: FindingId | None = None
    """Why it covers less than Casbin's pattern, if it does."""
    note: FindingId | None = None
    """A finding to report although it covers the same."""


class Separated:
    """Names of several segments: paths (`/a/b`), or dotted names (`a.b`)."""

    def __init__(self, names: Iterable[str]) -> None:
        """Detects from the names which of the two forms they have. Raises UntranslatableError if they have both."""
        written = [name for name in names if name.strip("*")]
        paths = [name for name in written if name.startswith("/")]
        self.rooted = bool(paths)
        self.separator = "/" if any("/" in name for name in written) else "."
        if paths and len(paths) < len(written):
            other = next(name for name in written if not name.startswith("/"))
            raise UntranslatableError(
                f"`{quote(other)}` beside `{quote(paths[0])}`: expected paths, or names, not both"
            )

    def namespace(self, name: str) -> str:
        return ".".join(encode_segment(each) for each in self._segments(name))

    def pattern(self, text: str, function: str) -> PatternReading:
        """The pattern that covers what `function` matches. Raises UntranslatableError if there is none."""
        return self._prefix(text) if function == "keyMatch" else self._expression(text, function)

    def probes(self, text: str) -> list[str]:
        """Names in, below and beside a pattern, for questions."""
        plain = re.sub(r":[^/]+|\{[^/{}]+\}", _PROBE, text) if self.separator == "/" else text
        inside = plain.replace("*", _PROBE)
        found = [inside, f"{inside}{self.separator}deeper", f"{inside}2"]
        above = plain.partition("*")[0].rstrip(self.separator)
        if "*" in plain and above.strip(self.separator):
            found += [above, f"{above}2"]
        if self.rooted:
            found = [each if each.startswith("/") else f"/{each}" for each in found]
        return found

    def _prefix(self, text: str) -> PatternReading:
        prefix, star, behind = text.partition("*")
        if not star:
            return PatternReading(self.namespace(text))
        note = FindingId.TEXT_BEHIND_STAR if behind else None
        if prefix in ("", "/" if self.rooted else ""):
            return PatternReading(EVERYTHING, None, note)
        if prefix.endswith(self.separator):
            return PatternReading(f"{self.namespace(prefix[:-1])}.*.**", None, note)
        return PatternReading(f"{self.namespace(prefix)}.**", FindingId.PREFIX_CROSSES_SEGMENT, note)

    def _expression(self, text: str, function: str) -> PatternReading:
        if function == "keyMatch2" and text == "*":
            return PatternReading(EVERYTHING)
        if self.separator != "/":
            raise UntranslatableError(f"`{quote(text)}`: `{function}` divides paths, expected `/`")
        is_parameter = _PARAMETER[function]
        segments = self._segments(text)
        parts: list[str] = []
        narrowed = None
        for index, segment in enumerate(segments):
            if is_parameter(segment):
                parts.append("*")
            elif segment == "*" and index == len(segments) - 1:
                parts += ["*", "**"]
            elif _REGEX_SIGNS & set(_plain(segment, function)) or (function == "keyMatch2" and ":" in segment):
                raise UntranslatableError(
                    f"`{quote(text)}`: `{quote(segment)}` is only part of a segment to `{function}`"
                )
            else:
                parts.append(encode_segment(segment))
                narrowed = FindingId.DOT_IS_ANY_CHARACTER if "." in segment else narrowed
        if function == "keyMatch4" and len(set(filter(is_parameter, segments))) < len(
            list(filter(is_parameter, segments))
        ):
            raise UntranslatableError(f"`{quote(text)}`: the same parameter twice must be the same segment twice")
        return PatternReading(EVERYTHING if parts == ["*", "**"] else ".".join(parts), narrowed)

    def _segments(self, name: str) -> list[str]:
        segments = (name.removeprefix("/") if self.rooted else name).split(self.separator)
        if not all(segments):
            raise UntranslatableError(f"`{quote(name)}` has an empty segment")
        return segments


def _plain(segment: str, function: str) -> str:
    """A segment without the braces that are plain text to a function."""
    return _PLAIN_BRACES.sub("", segment) if function == "keyMatch2" else segment
