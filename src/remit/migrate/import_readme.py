from typing import Final

from remit.migrate.options import Imported

_RULE: Final = """\
Names outside remit's grammar were mapped by a reversible rule. An ID keeps what the grammar allows; every other
byte, and `%`, is `%` and two hexadecimal digits. In a kind, an action, a tenant or a segment of a namespace, every other byte
is `__` and two hexadecimal digits, as is the first of two underscores; where the result would not begin with a letter (a
tenant or segment: a letter or digit), `X` (`x`) goes before. A subject without `user:`, `service:`, `group:` or `role:` gets
`role:` where others hold it and `user:` where nobody does.
"""


def protocol(origin: str, imported: Imported) -> bytes:
    """README.md: the origin of the files, and the findings. The loader ignores it."""
    findings = "".join(f"- {each}\n" for each in imported.findings) or "Nothing.\n"
    head = (
        f"# Imported from {origin}\n\n{imported.rows} rows or records read, {imported.cases} questions kept as tests.\n"
    )
    return f"{head}\n## Names\n\n{_RULE}\n## Findings\n\n{findings}".encode()
