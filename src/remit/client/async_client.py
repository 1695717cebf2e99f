"""The client for asyncio, and the source of the client for threads: after a change here, `make client`.

It is long because each method is written out, for readers, editors and type checkers.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn
from uuid import uuid4

import grpc
from google.protobuf.message import Message
from typing_extensions import Self

from remit.client.answers import Answer, OperationAnswer, Plan, ReachAllAnswer
from remit.client.async_transport import AsyncTransport, pending
from remit.client.batch_parts import BatchParts
from remit.client.call import Item, Response, Result, Terms
from remit.client.decode import (
    allowed,
    answer_of,
    as_is,
    known,
    operation_answer_of,
    plan_of,
    reach_all_answer_of,
    recorded,
)
from remit.client.errors import DecisionUnavailable
from remit.client.links import ChannelLinks, Token
from remit.client.questions import Asked, AskedReach, Graph, NamespaceRows, PrincipalRows, RuntimeBinding
from remit.client.requests import (
    FIRST_PAGE,
    graph_edges,
    graph_nodes,
    grouping,
    import_requests,
    matrix,
    name_type,
    names,
    past,
    question,
    reach_question,
    resource_type,
    runtime_rows,
)
from remit.client.streams import BindingStream, ExportStream, GrantedBinding, RecordStream, WatchedChange
from remit.client.tls import MutualTls
from remit.v1 import access_service_pb2 as access_pb2
from remit.v1 import audit_service_pb2 as audit_pb2
from remit.v1 import binding_service_pb2 as binding_pb2
from remit.v1 import policy_service_pb2 as policy_pb2
from remit.v1 import reach_service_pb2 as reach_pb2
from remit.v1 import resource_service_pb2 as resource_pb2
from remit.v1 import search_service_pb2 as search_pb2
from remit.v1 import status_service_pb2 as status_pb2
from remit.v1 import visibility_service_pb2 as visibility_pb2
from remit.v1.audit_service_pb2 import Record, RecordFilter


class AsyncTenantClient:
    """Asks about one tenant, and changes its rows of run time. It is immutable, and cheap to make: `tenant` of a client
    makes it, and it uses the connection of that client. Close that one."""

    def __init__(self, transport: AsyncTransport, terms: Terms) -> None:
        self._transport = transport
        self._terms = terms

    def with_terms(
        self,
        *,
        on_behalf_of: str | None = None,
        trace_id: str | None = None,
        revision: str | None = None,
        at_least: str | None = None,
    ) -> Self:
        """A client with these terms in place of its own; None keeps a term, and '' removes it. See `tenant`."""
        given = {"on_behalf_of": on_behalf_of, "trace_id": trace_id, "revision": revision, "at_least": at_least}
        terms = {name: value for name, value in given.items() if value is not None}
        return type(self)(self._transport, self._terms._replace(**terms))

    @pending
    async def check(
        self, principal: str, action: str, kind: str, namespace: str = "", *, resource_id: str = ""
    ) -> Answer:
        """The answer, allow or deny."""
        asked = Asked(principal, action, kind, namespace, resource_id)
        return await self._ask(lambda: access_pb2.CheckRequest(question=question(asked)), answer_of, cacheable=True)

    @pending
    async def guard(
        self, principal: str, action: str, kind: str, namespace: str = "", *, resource_id: str = ""
    ) -> Answer:
        """Like `check`, but returns only if the answer is an allow. Raises AccessDenied if it is a deny."""
        return allowed(await self.check(principal, action, kind, namespace, resource_id=resource_id))

    @pending
    async def batch_check(self, questions: Sequence[Asked]) -> list[Answer | DecisionUnavailable]:
        """One result for each question, in order, all by one revision. A malformed question does not fail the others:
        its result is a MalformedQuestion, returned and not raised. More questions than the server takes are asked in
        several calls, within one deadline; if the policy changes between them, there is no answer."""
        return await self._transport.ask_parts(
            BatchParts(lambda part: access_pb2.BatchCheckRequest(questions=map(question, part)), self._terms, questions)
        )

    @pending
    async def explain(
        self, principal: str, action: str, kind: str, namespace: str = "", *, resource_id: str = ""
    ) -> access_pb2.ExplainResponse:
        """The answer and its reasons, as the API returns them: rule, chain, near misses, remedy, and a summary in
        words."""
        asked = Asked(principal, action, kind, namespace, resource_id)
        return await self._ask(lambda: access_pb2.ExplainRequest(question=question(asked)), recorded)

    @pending
    async def check_operation(
        self, principal: str, operation: str, namespace: str = "", *, resource_id: str = ""
    ) -> OperationAnswer:
        """May every part of a compound operation of the vocabulary happen? One revision answers all parts."""
        return await self._ask(
            lambda: access_pb2.CheckOperationRequest(
                principal=principal, operation=operation, namespace=namespace, resource_id=resource_id
            ),
            operation_answer_of,
        )

    @pending
    async def guard_operation(
        self, principal: str, operation: str, namespace: str = "", *, resource_id: str = ""
    ) -> OperationAnswer:
        """Like `check_operation`, but returns only if the answer is an allow. Raises AccessDenied if it is a deny."""
        return allowed(await self.check_operation(principal, operation, namespace, resource_id=resource_id))

    @pending
    async def check_reach(self, caller: str, owner: str, relation: str, *, resource_id: str = "") -> Answer:
        """May work in namespace `caller` use what namespace `owner` owns, by `relation`?"""
        asked = AskedReach(caller, owner, relation, resource_id)
        return await self._ask(
            lambda: reach_pb2.CheckReachRequest(question=reach_question(asked)), answer_of, cacheable=True
        )

    @pending
    async def guard_reach(self, caller: str, owner: str, relation: str, *, resource_id: str = "") -> Answer:
        """Like `check_reach`, but returns only if the answer is an allow. Raises AccessDenied if it is a deny."""
        return allowed(await self.check_reach(caller, owner, relation, resource_id=resource_id))

    @pending
    async def batch_check_reach(self, questions: Sequence[AskedReach]) -> list[Answer | DecisionUnavailable]:
        """One result for each question, as in `batch_check`."""
        return await self._transport.ask_parts(
            BatchParts(
                lambda part: reach_pb2.BatchCheckReachRequest(questions=map(reach_question, part)),
                self._terms,
                questions,
            )
        )

    @pending
    async def check_reach_all(self, caller: str, owners: Sequence[str], relation: str) -> ReachAllAnswer:
        """May `caller` use every one of these owners (1 to 10,000), and which owners refuse?"""
        return await self._ask(
            lambda: reach_pb2.CheckReachAllRequest(caller=caller, relation=relation, owners=names(owners)),
            reach_all_answer_of,
        )

    @pending
    async def guard_reach_all(self, caller: str, owners: Sequence[str], relation: str) -> ReachAllAnswer:
        """Like `check_reach_all`, but returns only if the answer is an allow. Raises AccessDenied if it is a deny."""
        return allowed(await self.check_reach_all(caller, owners, relation))

    @pending
    async def explain_reach(
        self, caller: str, owner: str, relation: str, *, resource_id: str = ""
    ) -> reach_pb2.ExplainReachResponse:
        """The answer and its reasons, as the API returns them: row, later rows, near misses, remedy, and a summary in
        words."""
        asked = AskedReach(caller, owner, relation, resource_id)
        return await self._ask(lambda: reach_pb2.ExplainReachRequest(question=reach_question(asked)), recorded)

    @pending
    async def list_reachable(
        self, namespace: str, *, relations: Sequence[str] = (), among: Sequence[str] = ()
    ) -> reach_pb2.ListReachableResponse:
        """What `namespace` can use, and who can use what it owns, by each of `relations` (all if empty): as patterns,
        and as the matching namespaces of `among`."""
        return await self._ask(
            lambda: reach_pb2.ListReachableRequest(namespace=namespace, relations=names(relations), among=names(among)),
            recorded,
        )

    @pending
    async def list_actions(
        self, principal: str, namespace: str = "", *, kinds: Sequence[str] = ()
    ) -> search_pb2.ListActionsResponse:
        """What `principal` may do in the namespace, or in the tenant itself: actions of all kinds, or of `kinds`."""
        return await self._ask(
            lambda: search_pb2.ListActionsRequest(principal=principal, namespace=namespace, kinds=names(kinds)),
            recorded,
        )

    @pending
    async def list_namespaces(
        self, principal: str, action: str = "", kind: str = "", *, among: Sequence[str] = ()
    ) -> search_pb2.ListNamespacesResponse:
        """Where `principal` may do `action` (any if empty) on `kind` (any if empty): as patterns, and as the matching
        namespaces of `among`, at most 10,000."""
        return await self._ask(
            lambda: search_pb2.ListNamespacesRequest(principal=principal, action=action, kind=kind, among=names(among)),
            recorded,
        )

    def list_principals(
        self, action: str, kind: str, namespace: str = "", *, page_size: int = 0
    ) -> AsyncIterator[search_pb2.PermittedPrincipal]:
        """Who may do `action` on `kind`, sorted by name, with the rule and the rows that lead to it. The client fetches
        pages of `page_size` (0: the server chooses) as you iterate. If the policy changes meanwhile, it raises
        DecisionUnavailable with the code FAILED_PRECONDITION: start again, earlier pages may be out of date."""
        return self._walk(
            lambda: search_pb2.ListPrincipalsRequest(
                action=action, kind=kind, namespace=namespace, page_size=page_size
            ),
            lambda page: recorded(page).principals,
        )

    def list_held(self, principal: str, *, page_size: int = 0) -> AsyncIterator[search_pb2.HeldEntry]:
        """All that leads from a principal: its own rows first, then the groups and roles that it holds through them,
        each with the chain of rows, where it counts and when it ends. The client fetches pages of `page_size` (0: the
        server chooses) as you iterate, all by one revision."""
        return self._walk(
            lambda: search_pb2.ListHeldRequest(principal=principal, page_size=page_size),
            lambda page: recorded(page).entries,
        )

    @pending
    async def list_matrix(
        self,
        rows: PrincipalRows | NamespaceRows,
        *,
        kinds: Sequence[str] = (),
        actions: Sequence[str] = (),
        page_size: int = 0,
        page_token: str = "",
    ) -> search_pb2.ListMatrixResponse:
        """One page of a table of decisions: `rows` by the actions of `kinds`, or `actions` of them (all if empty), at most
        60 columns. `page_size` is at most 100 rows. Pass the answer's `next_page_token` as `page_token`, with all else the
        same, for the next page: if the policy changed meanwhile, it raises DecisionUnavailable with the code
        FAILED_PRECONDITION."""
        return await self._ask(
            lambda: matrix(
                rows,
                search_pb2.ListMatrixRequest(
                    kinds=names(kinds), actions=names(actions), page_size=page_size, page_token=page_token
                ),
            ),
            recorded,
        )

    @pending
    async def plan_filter(self, principal: str, action: str, kind: str) -> Plan:
        """Where `principal` may do `action` on `kind`: the namespaces to filter a query by (see remit.client.sql)."""
        return await self._ask(
            lambda: search_pb2.PlanFilterRequest(principal=principal, action=action, kind=kind), plan_of
        )

    @pending
    async def visible_graph(
        self, principal: str, graph: Graph, *, action: str = "VIEW", omit: bool = False
    ) -> visibility_pb2.VisibleGraphResponse:
        """What `principal` may see of the graph: the nodes where it may do `action`. The other nodes become nameless
        stubs; with `omit` they are left out with their edges."""
        return await self._ask(
            lambda: visibility_pb2.VisibleGraphRequest(
                principal=principal,
                action=action,
                nodes=graph_nodes(graph),
                edges=graph_edges(graph),
                hidden=visibility_pb2.HIDDEN_NODES_OMIT if omit else visibility_pb2.HIDDEN_NODES_STUB,
            ),
            recorded,
        )

    @pending
    async def resolve_dedicated(
        self, namespace: str = "", resources: Sequence[str] = (), service: str = ""
    ) -> resource_pb2.ResolveDedicatedResponse:
        """The `resources` (`storage`, `secrets`, `worker_group`; all if empty) that serve a namespace, or the tenant
        itself, the level that assigns each, and whether `service` may use them."""
        return await self._ask(
            lambda: resource_pb2.ResolveDedicatedRequest(
                namespace=namespace, resources=map(resource_type, names(resources)), service=service
            ),
            recorded,
        )

    @pending
    async def list_served(self, resource: str, name: str) -> resource_pb2.ListServedResponse:
        """The namespaces of a tenant that the named `resource` (`storage`, `secrets` or `worker_group`) serves; for the
        tenant `_instance`, the tenants."""
        return await self._ask(
            lambda: resource_pb2.ListServedRequest(resource=resource_type(resource), name=name), recorded
        )

    @pending
    async def change_bindings(
        self,
        grants: Sequence[RuntimeBinding] = (),
        revokes: Sequence[RuntimeBinding] = (),
        *,
        granter: str = "",
        reason: str = "",
        expected_position: str = "",
        must_exist: Sequence[RuntimeBinding] = (),
        must_not_exist: Sequence[RuntimeBinding] = (),
        request_id: str = "",
        dry_run: bool = False,
    ) -> binding_pb2.ChangeBindingsResponse:
        """Grants and revokes rows at run time, all or none. `granter` is the principal whose rights the change needs; ''
        is the caller itself. The answer's `position`, bound as `at_least`, makes any node answer by the change. The client
        may send the request again when no answer comes: `request_id`, or one that it makes, keeps it from being made twice.
        With `dry_run`, nothing changes, and `effects` says who would gain and lose what."""
        return await self._ask(
            lambda: binding_pb2.ChangeBindingsRequest(
                grants=runtime_rows(grants),
                revokes=runtime_rows(revokes),
                granter=granter,
                reason=reason,
                expected_position=expected_position,
                must_exist=runtime_rows(must_exist),
                must_not_exist=runtime_rows(must_not_exist),
                request_id=request_id or uuid4().hex,
                dry_run=dry_run,
            ),
            as_is,
        )

    @pending
    async def import_bindings(
        self,
        rows: Iterable[RuntimeBinding],
        *,
        granter: str = "",
        reason: str = "",
        replace: bool = False,
        expected_position: str = "",
        request_id: str = "",
        dry_run: bool = False,
        timeout_s: float = 600.0,
    ) -> binding_pb2.ImportBindingsResponse:
        """Grants up to 1,000,000 rows, all or none, as one change; with `replace`, revokes all other rows of run time. The
        rows are read as they are sent. No row may come twice. The client does not send an import again: with a
        `request_id` you may, and it is made once. `timeout_s` is its deadline. It needs gRPC."""

        def start() -> binding_pb2.ImportStart:
            return binding_pb2.ImportStart(
                granter=granter,
                reason=reason,
                request_id=request_id,
                expected_position=expected_position,
                replace=replace,
                dry_run=dry_run,
            )

        response: binding_pb2.ImportBindingsResponse = await self._transport.upload(
            binding_pb2.ImportBindingsRequest,
            lambda: import_requests(self._terms.bind(start()), rows),
            timeout_s,
        )
        return response

    def export_bindings(self) -> AsyncIterator[GrantedBinding]:
        """All rows that were granted at run time and are in force at one position, by member, with who granted each, when
        and why. A stream that breaks raises DecisionUnavailable: begin again."""
        return self._transport.follow(ExportStream(self._terms))

    def watch_bindings(self, after_position: str = "") -> AsyncIterator[WatchedChange]:
        """Every change of the tenant's rows after a position, in order, each once, without an end; '' is the beginning. If
        the server goes away, the client resumes where the stream ended. DecisionUnavailable with the code ABORTED says that
        the history does not hold the position any more: list the rows anew."""
        return self._transport.follow(BindingStream(self._terms, after_position))

    def list_bindings(
        self, member: str = "", holds: str = "", *, page_size: int = 0
    ) -> AsyncIterator[binding_pb2.GrantedRow]:
        """The rows that were granted at run time and are in force, by member; only those of `member` or to `holds`, if they
        are given. The client fetches pages of `page_size` (0: the server chooses) as you iterate."""
        return self._walk(
            lambda: binding_pb2.ListBindingsRequest(member=member, holds=holds, page_size=page_size),
            lambda page: page.rows,
        )

    @pending
    async def diff_revisions(self, old: str = "", new: str = "") -> policy_pb2.DiffRevisionsResponse:
        """Who gains and who loses what where, from revision `old` to revision `new`, and by which rows. A revision is given
        by 64 digits, or by 8 or more of the first digits of a stored one; empty is the one that serves. If the comparison
        takes longer than the call, it raises DecisionUnavailable with the code UNAVAILABLE: ask again for its result."""
        return await self._ask(lambda: policy_pb2.DiffRevisionsRequest(old=old, new=new), as_is)

    @pending
    async def get_source(self, file: str = "", *, first_line: int = 0, lines: int = 0) -> policy_pb2.GetSourceResponse:
        """The text of a revision: its files, at most 1,000, or lines of one of them from `first_line` on. `next_line` of
        the answer says where to go on."""
        return await self._ask(
            lambda: policy_pb2.GetSourceRequest(file=file, first_line=first_line, lines=lines, page_size=FIRST_PAGE),
            known,
        )

    @pending
    async def get_tests(self, *, failed_only: bool = False) -> policy_pb2.GetTestsResponse:
        """The tests of a revision's files: the first 1,000 cases, how many hold, and which rows none exercises. The server
        runs them when it is asked."""
        return await self._ask(lambda: policy_pb2.GetTestsRequest(failed_only=failed_only, page_size=FIRST_PAGE), known)

    @pending
    async def get_vocabulary(self) -> policy_pb2.GetVocabularyResponse:
        """The words that the tenant's policy may use: kinds with their actions, relations, operations, services."""
        return await self._ask(policy_pb2.GetVocabularyRequest, known)

    def list_names(
        self, what: str, *, prefix: str = "", contains: str = "", page_size: int = 0
    ) -> AsyncIterator[policy_pb2.UsedName]:
        """The names that the tenant's policy uses, sorted, with how many rows use each. `what` is namespace, pattern,
        group, role or principal. Only names that begin with `prefix`, and that have `contains` in them, in capitals or
        not. The client fetches pages of `page_size` (0: the server chooses) as you iterate."""
        return self._walk(
            lambda: policy_pb2.ListNamesRequest(
                what=name_type(what), prefix=prefix, contains=contains, page_size=page_size
            ),
            lambda page: page.names,
        )

    @pending
    async def explain_past(
        self, principal: str, action: str, kind: str, namespace: str = "", *, time_us: int = 0, node: str = ""
    ) -> audit_pb2.ExplainPastResponse:
        """What the answer was, or would have been, and why: by the bound `revision`, or by the revision that served at
        `time_us`, microseconds since the Unix epoch, on every node or on `node`."""
        asked = Asked(principal, action, kind, namespace)
        return await self._ask(
            lambda: past(self._terms, time_us, audit_pb2.ExplainPastRequest(access=question(asked), node=node)),
            known,
        )

    @pending
    async def explain_past_reach(
        self, caller: str, owner: str, relation: str, *, time_us: int = 0, node: str = ""
    ) -> audit_pb2.ExplainPastResponse:
        """Like `explain_past`, for reach: might work in namespace `caller` use what `owner` owns, by `relation`?"""
        asked = AskedReach(caller, owner, relation)
        return await self._ask(
            lambda: past(self._terms, time_us, audit_pb2.ExplainPastRequest(reach=reach_question(asked), node=node)),
            known,
        )

    async def _ask(
        self, request: Callable[[], Message], read: Callable[[Response], Result], *, cacheable: bool = False
    ) -> Result:
        return await self._transport.ask(lambda: self._terms.bind(request()), read, cacheable=cacheable)

    def _walk(self, request: Callable[[], Message], read: Callable[[Any], Iterable[Item]]) -> AsyncIterator[Item]:
        return self._transport.walk(lambda: self._terms.bind(request()), read)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            if not name.startswith("_") and hasattr(AsyncClient, name):
                raise AttributeError(
                    f"a client of one tenant has no `{name}`: call it on the client, `client.{name}(...)`"
                )
            object.__getattribute__(self, name)


class AsyncClient:
    """Like Client, for one event loop: use it and close it in coroutines of that loop. It can be made before the loop.
    Await its methods; use `async for` where Client is used with `for`."""

    def __init__(
        self,
        target: str,
        *,
        timeout_s: float = 5.0,
        tls: MutualTls | None = None,
        server_ca: Path | str | None = None,
        token: Token | None = None,
        act_for: Token | None = None,
        cache: int = 0,
    ) -> None:
        """`target` is `HOST:PORT`, or a name of gRPC's such as `dns:///HOST:PORT`; or `http://HOST:PORT` or
        `https://HOST:PORT` to ask over HTTP, with the extra `http-client`. A call to a loopback address goes through no
        proxy. `timeout_s` is the deadline of each call; until then the call is retried while the server is
        unavailable.

        `server_ca` is a PEM file: the CA that signed the server's certificate, for a client with a `token` and without a
        certificate. `token` is a token, or a function that returns one before each call and must not wait long. When a
        PEM file changes, new calls use a new connection.

        `act_for` is the person for whom this client asks, `user:ID`, or a function that returns one before each call. The
        client's own credential needs the right ACT_FOR; calls then have the rights that both have.

        `cache`: how many answers of `check`, `check_reach` and their guards are kept. They are returned again while the
        server says that the tenant's policy is unchanged. AN ANSWER FROM THE CACHE LEAVES NO AUDIT RECORD; the default
        keeps none.

        Raises ValueError if the target is none of them, or if the arguments contradict each other, OSError if a file
        cannot be read or if the files do not fit, and ImportError if the target needs a package that is not installed.
        """
        if cache and callable(act_for):
            raise ValueError("one person would get the answers of another: leave `cache` or `act_for` out")
        links = ChannelLinks(target, grpc.aio, tls=tls, server_ca=server_ca, token=token, act_for=act_for)
        self._transport = AsyncTransport(links, timeout_s, cache)

    async def close(self) -> None:
        """Ends all calls, also those of its tenant clients."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def tenant(
        self, tenant: str, *, on_behalf_of: str = "", trace_id: str = "", revision: str = "", at_least: str = ""
    ) -> AsyncTenantClient:
        """A client for questions about one tenant, with the terms of all its calls. Records hold `on_behalf_of`, who
        impersonates the principal, and `trace_id`. With `revision`, that revision answers, or there is no answer. With
        `at_least`, a policy answers that knows of the write or the answer that gave this position, or there is no
        answer."""
        return AsyncTenantClient(self._transport, Terms(tenant, on_behalf_of, trace_id, revision, at_least))

    @pending
    async def status(self, tenant: str = "") -> status_pb2.GetStatusResponse:
        """What the server serves, and its health; only `tenant` if it is given."""
        return await self._transport.ask(lambda: status_pb2.GetStatusRequest(tenant=tenant), as_is)

    def list_records(
        self, where: RecordFilter | None = None, *, oldest_first: bool = False, after: str = "", page_size: int = 0
    ) -> AsyncIterator[Record]:
        """The decisions that `where` selects, newest or oldest first, starting after the record with the id `after`.
        The client fetches pages of `page_size` (0: the server chooses) as you iterate."""
        return self._transport.walk(
            lambda: audit_pb2.ListRecordsRequest(
                filter=where, oldest_first=oldest_first, after=after, page_size=page_size
            ),
            lambda page: page.records,
        )

    @pending
    async def get_record(self, decision_id: str) -> audit_pb2.GetRecordResponse:
        """One decision, its place in its chain, and its reasons by the policy of that time."""
        return await self._transport.ask(lambda: audit_pb2.GetRecordRequest(id=decision_id), known)

    def follow_records(self, where: RecordFilter | None = None, *, after: str = "") -> AsyncIterator[Record]:
        """The decisions that `where` selects, as they are committed, each once, without an end: from the first step of
        the iteration on, or from `since_us` or `after` on. If the server goes away, the client resumes where the stream
        ended. It raises DecisionUnavailable if the server is away for longer than the timeout of a call."""
        return self._transport.follow(RecordStream(where, after))

    def count_records(
        self,
        where: RecordFilter | None = None,
        group_by: Sequence[str] = (),
        *,
        most_first: bool = False,
        page_size: int = 0,
    ) -> AsyncIterator[audit_pb2.RecordCount]:
        """The number of decisions, by whole hours, for each group of tenant, principal, namespace, revision, caller,
        question, effect, reason, node, hour and day; with `most_first`, only the largest `page_size` groups."""
        return self._transport.walk(
            lambda: audit_pb2.CountRecordsRequest(
                filter=where, group_by=map(grouping, names(group_by)), most_first=most_first, page_size=page_size
            ),
            lambda page: page.counts,
        )

    def list_lifecycle(
        self,
        tenant: str = "",
        *,
        type: str = "",  # noqa: A002 (as the API has it)
        node: str = "",
        since_us: int = 0,
        until_us: int = 0,
        oldest_first: bool = False,
        after: str = "",
        page_size: int = 0,
        without_calls: bool = False,
    ) -> AsyncIterator[audit_pb2.LifecycleRecord]:
        """Events other than decisions, in pages like `list_records`. `without_calls` leaves out what callers cause at will:
        reads and refused calls."""
        return self._transport.walk(
            lambda: audit_pb2.ListLifecycleRequest(
                tenant=tenant,
                type=type,
                node=node,
                since_us=since_us,
                until_us=until_us,
                oldest_first=oldest_first,
                after=after,
                page_size=page_size,
                without_calls=without_calls,
            ),
            lambda page: page.records,
        )

    def list_heads(self, tenant: str = "", *, page_size: int = 0) -> AsyncIterator[audit_pb2.ChainHead]:
        """The newest record of each chain, its last checkpoint, and how far the last recorded verification found it whole.
        In pages like `list_records`."""
        return self._transport.walk(
            lambda: audit_pb2.ListHeadsRequest(tenant=tenant, page_size=page_size), lambda page: page.heads
        )

    async def ask(self, request: Message) -> Any:
        """The API's response to any request, not decoded, with this client's deadline, retries and errors."""
        return await self._transport.ask(lambda: request, as_is)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            if not name.startswith("_") and hasattr(AsyncTenantClient, name):
                raise AttributeError(f"`client.{name}(TENANT, ...)` is now `client.tenant(TENANT).{name}(...)`")
            object.__getattribute__(self, name)
