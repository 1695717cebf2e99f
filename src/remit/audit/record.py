import json
from typing import Final, NamedTuple

from remit.core.question import Question, QuestionType, ReachQuestion, parse_question, parse_reach_question

HASHED: Final = "hmac:"
"""The prefix of a hash that replaces a name (`remit.audit.redaction`)."""
ASKED_TENANT: Final = "tenant"
"""In `detail`: the requested tenant, if no such tenant is configured. `tenant` is '' then."""
VIA: Final = "via"
"""In `detail`: the name of the caller's credential, if `caller` does not show it."""
POSITION: Final = "position"
"""In `detail`: the position of the policy that decided, if it has one."""
ROUTE: Final = "route"
"""In `detail`: the route of a gateway's request, for example `GET /api/flows/{namespace}/{id}`."""
_NAMES: Final = ("user:", "service:", "namespace:")
_ACCESS: Final = (QuestionType.CHECK, QuestionType.EXPLAIN, QuestionType.OPERATION)
_REACH: Final = (QuestionType.REACH, QuestionType.REACH_EXPLAIN)

BINDINGS_CHANGED: Final = "BINDINGS_CHANGED"
KEY_IN_USE: Final = "KEY_IN_USE"
"""The lifecycle record of a server that signs."""
AUDIT_READ: Final = "AUDIT_READ"
"""The lifecycle record of a read of the audit."""
POLICY_READ: Final = "POLICY_READ"
"""The lifecycle record of a read of the text of a policy, or of what it says of everybody."""
AUDIT_VERIFIED: Final = "AUDIT_VERIFIED"
"""The lifecycle record of a verification of the audit."""
CALL_REFUSED: Final = "CALL_REFUSED"
"""The lifecycle record of calls that were refused for lack of a right."""
BY_CALLERS: Final = (AUDIT_READ, POLICY_READ, CALL_REFUSED)
"""Lifecycle records that callers can cause at will. They have chains of their own, from which old ones are purged."""


class DecisionRecord(NamedTuple):
    """One row of table `decisions`, in column order: the tuple goes directly to the driver.

    For a question of the reach plane, `principal` is `namespace:CALLER`, `namespace` the owner and `action` the
    relation. For a question that is answered with a list, a field that the question leaves open (any kind, any action)
    is ''.
    """

    id: bytes
    """UUIDv7, 16 bytes: the primary key, and the order of time."""
    time_us: int
    """Microseconds since the Unix epoch. Take it from `DecisionIds.stamp`, which keeps it in step with `id`."""
    node: str
    caller: str
    on_behalf_of: str
    """'' if none."""
    tenant: str
    """'' if no tenant with the requested name is configured. `asked_tenant` is that name."""
    namespace: str
    principal: str
    action: str
    kind: str
    resource_id: str
    effect: str
    """'allow' or 'deny'. '' if the answer is a list."""
    reason: str
    """A reason without its enum prefix: 'ALLOWED_BY_RULE'. '' for a list, unless it is necessarily empty."""
    rule: str
    """'acme/roles.csv:12'. '' if no rule decided."""
    revision: str
    """64 hex digits. '' if none."""
    latency_ns: int
    call_id: bytes
    """UUIDv7 of the call, the same for all items of a batch."""
    batch_index: int
    """0-based position in the batch. -1 for a single question."""
    trace_id: str
    question: str = "CHECK"
    """The kind of question: a name of `core.question.QuestionType`."""
    detail: str = ""
    """JSON text: counts from the answer that no column holds. '' if there are none."""

    @property
    def asked_tenant(self) -> str:
        if self.tenant or not self.detail:
            return self.tenant
        return str(json.loads(self.detail).get(ASKED_TENANT, ""))

    @property
    def position(self) -> str:
        """The position of the policy that decided; '' if it had none."""
        return str(json.loads(self.detail).get(POSITION, "")) if self.detail else ""

    @property
    def nameless(self) -> bool:
        """Whether this is the record of one decision whose principal was redacted."""
        return self.question in (*_ACCESS, *_REACH) and not self.principal.startswith(_NAMES)

    @property
    def asked(self) -> Question | ReachQuestion | None:
        """The question that this decision answered.

        None if the answer was more than one decision, or if the question cannot be asked again.
        """
        if self.nameless:
            return None
        if self.question in _ACCESS and self.kind:
            return parse_question(self.principal, self.action, self.kind, self.namespace)
        if self.question in _REACH:
            return parse_reach_question(self.principal.removeprefix("namespace:"), self.namespace, self.action)
        return None


class LifecycleRecord(NamedTuple):
    """One row of table `lifecycle`, in column order."""

    id: bytes
    time_us: int
    node: str
    type: str
    """What happened, such as POLICY_LOADED: docs/reference/records.md lists them."""
    tenant: str
    revision: str
    detail: str
    """JSON text."""


class ArchivedRevision(NamedTuple):
    """The files of a tenant's revision, packed. They are stored with the record that names the revision."""

    tenant: str
    revision: str
    kept_us: int
    archive: bytes


class ChainPosition(NamedTuple):
    seq: int
    """0 for a record from before there were chains."""
    hash: bytes
    """SHA-256. Empty if `seq` is 0."""
    head: int
    """The number of the chain's newest record."""
