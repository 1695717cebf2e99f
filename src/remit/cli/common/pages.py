"""The pages of the documentation: those that the wheel carries, or those of the checkout that remit is installed from."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import remit

_PACKAGE: Final = Path(remit.__file__).parent
_CHECKOUT: Final = _PACKAGE.parents[1]
LINT_RULES: Final = "docs/reference/lint.md"


def pages() -> Mapping[str, Path]:
    """The file of each page, by the path that errors and links name: `docs/reference/lint.md`."""
    root = _PACKAGE / "pages"
    if root.is_dir():
        return {str(path.relative_to(root)): path for path in sorted(root.rglob("*.md"))}
    folders = ("explanation", "how-to", "reference", "tutorials")
    found = [_CHECKOUT / name for name in ("README.md", "CHANGELOG.md", "SECURITY.md", "policies/README.md")]
    found += [
        _CHECKOUT / "docs/index.md",
        *(each for name in folders for each in (_CHECKOUT / "docs" / name).glob("*.md")),
    ]
    return {str(path.relative_to(_CHECKOUT)): path for path in sorted(found)}


def named(known: Mapping[str, Path], name: str) -> list[str]:
    """The pages that a name may mean: a path, or its end without `.md`: `how-to/install`, `install`."""
    if name in known or f"{name}.md" in known:
        return [name if name in known else f"{name}.md"]
    wanted = "/" + name.removesuffix(".md")
    return [page for page in known if ("/" + page.removesuffix(".md")).endswith(wanted)]


def title(text: str) -> str:
    return text.partition("\n")[0].removeprefix("# ")


def section(text: str, heading: str) -> str | None:
    """A section of the second level, with its heading; None if the page has none of this name."""
    found = re.search(rf"^## {re.escape(heading)}\n.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return found[0] if found else None
