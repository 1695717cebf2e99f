import json
from collections.abc import Iterator
from pathlib import Path

from remit.cli.common.output import Exit, fail
from remit.core.errors import MalformedQuestionError
from remit.core.names import Tenant
from remit.core.question import Question, ReachQuestion, parse_question
from remit.files import cause_of

_FIELDS = ("tenant", "principal", "action", "kind", "namespace")


def questions_in(file: Path, tenant: Tenant) -> Iterator[Question]:
    """The questions about `tenant` in a JSON lines file. Ends the command at a line that is no question."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        fail(Exit.USAGE, f"`{file}` cannot be read: {cause_of(error)}")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            named = _names(json.loads(line))
            question = parse_question(*named[1:])
        except (ValueError, MalformedQuestionError) as error:
            fail(Exit.USAGE, f"{file}:{number}: {error}")
        if named[0] == tenant:
            yield question


def _names(value: object) -> list[str]:
    if not isinstance(value, dict) or not all(isinstance(value.get(name, ""), str) for name in _FIELDS):
        raise ValueError(f"expected an object with texts for {', '.join(_FIELDS)}")
    return [value.get(name, "") for name in _FIELDS]


def questions_of(url: str, tenant: Tenant) -> Iterator[Question | ReachQuestion]:
    """The questions of the recorded decisions about `tenant`, oldest first."""
    # Files of questions need no database library.
    from remit.audit.query.filter import DecisionFilter  # noqa: PLC0415
    from remit.cli.common.open_store import opened  # noqa: PLC0415

    with opened(url) as store:
        for record in store.all_decisions(DecisionFilter(tenant=tenant)):
            if record.asked is not None:
                yield record.asked
