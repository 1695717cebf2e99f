"""Hooks of the site: pages that live outside `docs/`, and links between the repository's files."""

import posixpath
import re
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).parent.parent
MOUNTED: Final = {
    "policies/README.md": "how-to/write-policies.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "internals/contributing.md",
    "SECURITY.md": "explanation/security.md",
    "bench/README.md": "internals/benches.md",
    "tests/README.md": "internals/tests.md",
    "README.md": "index.md",
}
_SOURCES: Final = {site: source for source, site in MOUNTED.items() if source != "README.md"}
_LINK: Final = re.compile(r"\[([^\]]*)\]\((?!https?:|#)([^)#]*)(#[^)]*)?\)")
_CODE: Final = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
# The name of a block, such as a file's.
_NAMED: Final = re.compile(r"\A(```\w+) (\S+)$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the mounted pages."""
    for site, source in _SOURCES.items():
        files.append(File.generated(config, site, content=(ROOT / source).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Turns links between files of the repository into links between pages. Other files have no page: their link goes."""
    site = page.file.src_uri
    source = _SOURCES.get(site, f"docs/{site}")

    def linked(match: re.Match[str]) -> str:
        text, path, anchor = match.groups()
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if target not in MOUNTED and not (target.startswith("docs/") and (ROOT / target).is_file()):
            return text
        to = MOUNTED.get(target, target.removeprefix("docs/"))
        return f"[{text}]({posixpath.relpath(to, posixpath.dirname(site) or '.')}{anchor or ''})"

    parts = _CODE.split(markdown)
    parts[::2] = [_LINK.sub(linked, part) for part in parts[::2]]
    parts[1::2] = [_NAMED.sub(r'\1 title="\2"', part) for part in parts[1::2]]
    return "".join(parts)
