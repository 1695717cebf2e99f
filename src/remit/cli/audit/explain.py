from typing import Annotated, NamedTuple

import typer

from remit import wire
from remit.audit.query.reader import AuditReader
from remit.cli.ask.check import (
    ActionArgument,
    KindArgument,
    NamespaceArgument,
    PrincipalArgument,
    TenantArgument,
)
from remit.cli.audit.options import moment, time_text
from remit.cli.audit.source import Source, reads
from remit.cli.common.as_json import JsonOption, plain, print_json
from remit.cli.common.output import Exit, fail, out
from remit.core.errors import named
from remit.core.names import is_revision, parse_tenant
from remit.core.question import Question, ReachQuestion, parse_question, parse_reach_question
from remit.core.rows import Effect
from remit.policy.read.limits import Limits
from remit.rpc.encode_records import past_answer_to
from remit.service.history import PastAnswer, answers_at, explaining_here
from remit.v1 import audit_service_pb2 as messages


class At(NamedTuple):
    time_us: int
    revision: str


def _at(text: str) -> At:
    return At(0, text) if is_revision(text) else At(moment(text), "")


AtOption = Annotated[
    At,
    typer.Option(
        "--at",
        parser=_at,
        metavar="TIME|REVISION",
        help="By the policy of this time: ISO 8601 (UTC if it names no zone), or `3d` ago; or by a revision: its 64 digits.",
    ),
]
NodeOption = Annotated[
    str, typer.Option("--node", help="With a TIME: only by the policy that served on this node.", show_default=False)
]


@reads
def explain(
    tenant: TenantArgument,
    principal: PrincipalArgument,
    action: ActionArgument,
    kind: KindArgument,
    namespace: NamespaceArgument = "",
    *,
    at: AtOption,
    node: NodeOption = "",
    as_json: JsonOption = False,
    source: Source,
) -> None:
    """Show what the answer to a question was in the past, or would have been, and why: by the policy of that time.

    Nothing is recorded as a decision. Exits 0 if it was an allow on every node that answered, otherwise 1.

    Example: `remit audit explain acme user:erin DELETE FLOW acme.finance --at 2026-11-24T10:00`
    """
    response = source.answer(
        lambda store: _answered(store, tenant, parse_question(principal, action, kind, namespace), at, node),
        lambda client: client.tenant(tenant, revision=at.revision).explain_past(
            principal, action, kind, namespace, time_us=at.time_us, node=node
        ),
    )
    _print(response, as_json=as_json)


@reads
def explain_reach(
    tenant: TenantArgument,
    caller: Annotated[str, typer.Argument(help="The namespace whose work wanted to use something.")],
    owner: Annotated[str, typer.Argument(help="The namespace that owned it.")],
    relation: Annotated[str, typer.Argument(help="For example `SUBFLOW`.")],
    *,
    at: AtOption,
    node: NodeOption = "",
    as_json: JsonOption = False,
    source: Source,
) -> None:
    """Like `explain`: might work in CALLER use what OWNER owned, by RELATION?

    Example: `remit audit explain-reach acme acme.data acme.finance SUBFLOW --at 3d`
    """
    response = source.answer(
        lambda store: _answered(store, tenant, parse_reach_question(caller, owner, relation), at, node),
        lambda client: client.tenant(tenant, revision=at.revision).explain_past_reach(
            caller, owner, relation, time_us=at.time_us, node=node
        ),
    )
    _print(response, as_json=as_json)


def _answered(
    store: AuditReader, tenant: str, question: Question | ReachQuestion, at: At, node: str
) -> messages.ExplainPastResponse:
    name = named("tenant", parse_tenant, tenant)
    explain = explaining_here(store, Limits())
    if at.revision:
        answers = [PastAnswer(at.revision, (), explain(name, at.revision, question))]
    else:
        answers = answers_at(store, name, question, at.time_us, node=node, explain=explain)
    if not answers:
        fail(Exit.NO, f"no node served a policy of tenant `{tenant}` at that time, as far as the records show")
    return messages.ExplainPastResponse(answers=map(past_answer_to, answers))


def _print(response: messages.ExplainPastResponse, *, as_json: bool) -> None:
    answers = [getattr(each, each.WhichOneof("grounds") or "access") for each in response.answers]
    if as_json:
        of_nodes = [plain(each.nodes) for each in response.answers]
        print_json({"answers": [{**plain(answer), "nodes": of} for answer, of in zip(answers, of_nodes, strict=True)]})
    else:
        for each, answer in zip(response.answers, answers, strict=True):
            nodes = ", ".join(f"{node.node} since {time_text(node.since_us)}" for node in each.nodes)
            served = f", which served on {nodes}" if nodes else ""
            out.print(f"by revision {each.revision[:12] or 'none'}{served}:\n{answer.summary}")
    allowed = all(answer.decision.effect == wire.EFFECTS[Effect.ALLOW.value] for answer in answers)
    raise typer.Exit(Exit.OK if allowed else Exit.NO)
