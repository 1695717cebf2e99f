"""What filters may ask for is what records hold."""

import re
from pathlib import Path

from remit.audit.query.recorded_names import LIFECYCLE_TYPES
from remit.audit.record import BY_CALLERS

ROOT = Path(__file__).parents[3]
WRITTEN = re.compile(
    r"""(?:Outcome|remember|_record)\("([A-Z_]+)"|^(?:KEY_IN_USE|AUDIT_[A-Z]+|BINDINGS_CHANGED|IDENTITIES_[A-Z]+)(?:: Final)? = "([A-Z_]+)"|kind.* = \(?"([A-Z_]+)".*else \("([A-Z_]+)\"""",
    re.MULTILINE,
)


def test_each_type_of_lifecycle_records_that_is_written_can_be_asked_for() -> None:
    """And is documented."""
    sources = "\n".join(file.read_text() for file in (ROOT / "src" / "remit").rglob("*.py"))
    written = {name for names in WRITTEN.findall(sources) for name in names if name}
    page = (ROOT / "docs" / "reference" / "records.md").read_text()

    assert {*LIFECYCLE_TYPES} == written | {*BY_CALLERS}
    assert [] == [name for name in LIFECYCLE_TYPES if f"`{name}`" not in page]
