from collections.abc import Collection, Iterable
from difflib import get_close_matches
from itertools import islice
from typing import Final

from remit.core.names import quote

HINTED: Final = 256
"""Known names that are searched for a close match."""
HINTED_LENGTH: Final = 128
_LISTED: Final = 40


def did_you_mean(text: str, known: Iterable[str]) -> str:
    """`; did you mean ...` if a known name is close, otherwise empty. With more than HINTED names it does not search: a
    comparison takes time, and a folder may have as many errors as rows."""
    names = sorted(islice(known, HINTED + 1))
    if len(text) > HINTED_LENGTH or len(names) > HINTED:
        return ""
    close = get_close_matches(text, names, n=1, cutoff=0.7)
    return f"; did you mean `{close[0]}`?" if close else ""


def instead_of(word: str, known: Collection[str]) -> str:
    """A hint at the kind, action or relation that was meant, in any case of letters, and a list of known ones."""
    hint = did_you_mean(word, known) or did_you_mean(word.upper(), known)
    listed = ", ".join(f"`{quote(each)}`" for each in sorted(known)[:_LISTED])
    more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
    return f"{hint or ';'} there {'is' if len(known) == 1 else 'are'} {listed or 'none'}{more}"
