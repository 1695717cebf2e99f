"""What pages show: cells in tables. The same cells become HTML and CSV, so that both say the same."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, NamedTuple
from urllib.parse import quote as percent
from urllib.parse import urlencode

from remit.core.names import quote

ROWS_SHOWN: Final = 500
"""Of one table on a page. CSV has all."""
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the begin of a formula."""


class Cell(NamedTuple):
    text: str
    href: str = ""
    """A link, relative to the console's root; empty for none."""
    look: str = ""
    """Classes of style.css."""
    time_us: int = 0
    """Makes the cell a time; 0 for any other text."""
    code: bool = False
    """A name or a row, which may be cut into lines anywhere."""
    whole: str = ""
    """The text in CSV, where the page shows the begin of it."""


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    """As in `?csv=NAME`."""
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    empty: str = "Nothing."
    """Shown in place of no rows."""
    total: int | None = None
    """Rows on all pages, if that is known."""
    further: str = ""
    """A link to the next page."""
    numbers: frozenset[int] = field(default_factory=frozenset)
    """Columns of numbers."""
    note: str = ""
    """What the table does not say."""
    folded: bool = False
    """Only shown when somebody opens it."""


def csv_text(table: Table) -> str:
    """The table as CSV. A spreadsheet computes nothing from it."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(table.columns)
    writer.writerows([_inert(each.whole or each.text) for each in row] for row in table.rows)
    return out.getvalue()


def _inert(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def link_to(path: str, **query: object) -> str:
    """A link relative to the console's root. Leaves out what is empty."""
    given = {name.rstrip("_"): str(value) for name, value in query.items() if value not in {"", None}}
    return f"{path}?{urlencode(given)}" if given else path


def tenant_link(tenant: str, page: str = "", **query: object) -> str:
    path = f"t/{percent(tenant, safe='')}"
    return link_to(f"{path}/{page}" if page else path, **query)


def shown(text: str) -> str:
    """Somebody's text, made safe for the eye: control characters and marks of direction are escaped."""
    return quote(text, len(text))


def plain(text: object, look: str = "") -> Cell:
    return Cell(str(text), look=look)


def code(text: str, href: str = "") -> Cell:
    return Cell(text, href, code=True)


def number(value: int, href: str = "") -> Cell:
    return Cell(str(value), href, "number")


def time_text(time_us: int) -> str:
    """UTC, for example `2026-11-27 04:26:49Z`; empty for 0, and the number for a time that no calendar has."""
    if not time_us:
        return ""
    try:
        return f"{datetime.fromtimestamp(time_us / 1e6, UTC):%Y-%m-%d %H:%M:%S}Z"
    except (ValueError, OverflowError, OSError):
        return str(time_us)


def time(time_us: int, href: str = "") -> Cell:
    return Cell(time_text(time_us), href, time_us=time_us)


def effect(text: str, href: str = "") -> Cell:
    """`allow`, `DENY` or nothing: told apart by letters and shape, not by colour alone."""
    word = text.removeprefix("EFFECT_").lower()
    return Cell({"deny": "DENY"}.get(word, word), href, f"effect {word}" if word else "")


def state(word: str, *, good: bool, href: str = "") -> Cell:
    return Cell(word, href, "state good" if good else "state bad")


def revision(text: str, href: str = "") -> Cell:
    return Cell(text[:12], href, code=True, whole=text)


def size(count: int) -> str:
    """Bytes, in the largest unit that leaves one digit before the point."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:  # noqa: PLR2004 (the unit's own size)
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def joined(words: Iterable[str]) -> str:
    return " ".join(words)
