"""The client for asyncio, scoped to one tenant. `make client` writes it from async_client.py: do not edit.

It is long because each method is written out, for readers, editors and type checkers.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import TYPE_CHECKING

from remit.client.answers import Answer, OperationAnswer, Plan, ReachAllAnswer
from remit.client.async_transport import PendingQuestion
from remit.client.bindings import GrantedBinding, WatchedChange
from remit.client.errors import DecisionUnavailable
from remit.client.questions import Asked, AskedReach, Graph, NamespaceRows, PrincipalRows, RuntimeBinding
from remit.v1 import (
    access_service_pb2,
    audit_service_pb2,
    binding_service_pb2,
    policy_service_pb2,
    reach_service_pb2,
    resource_service_pb2,
    search_service_pb2,
    status_service_pb2,
    visibility_service_pb2,
)
from remit.v1.binding_service_pb2 import GrantedRow
from remit.v1.policy_service_pb2 import UsedName

if TYPE_CHECKING:
    from remit.client.async_client import AsyncClient


class AsyncTenantClient:
    """The methods of a client that ask about a tenant, without their first parameter. Uses the connection of that
    client: close that one."""

    def __init__(self, client: "AsyncClient", tenant: str) -> None:
        self._client = client
        self._tenant = tenant

    def check(
        self,
        principal: str,
        action: str,
        kind: str,
        namespace: str = "",
        *,
        resource_id: str = "",
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> PendingQuestion[Answer]:
        """The answer, allow or deny. With `revision`, that revision decides, or there is no answer. With `at_least`, a
        policy decides that knows of the write or the answer that gave this position, or there is no answer."""
        return self._client.check(
            self._tenant,
            principal,
            action,
            kind,
            namespace,
            resource_id=resource_id,
            on_behalf_of=on_behalf_of,
            trace_id=trace_id,
            revision=revision,
            at_least=at_least,
        )

    def guard(
        self,
        principal: str,
        action: str,
        kind: str,
        namespace: str = "",
        *,
        resource_id: str = "",
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> PendingQuestion[Answer]:
        """Like `check`, but returns only if the answer is an allow. Raises AccessDenied if it is a deny."""
        return self._client.guard(
            self._tenant,
            principal,
            action,
            kind,
            namespace,
            resource_id=resource_id,
            on_behalf_of=on_behalf_of,
            trace_id=trace_id,
            revision=revision,
            at_least=at_least,
        )

    def batch_check(
        self,
        questions: Sequence[Asked],
        *,
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> PendingQuestion[list[Answer | DecisionUnavailable]]:
        """One result for each question, in order, all by one revision. A malformed question does not fail the others:
        its result is a MalformedQuestion, returned and not raised. More questions than the server takes are asked in
        several calls, within one deadline; if the policy changes between them, there is no answer."""
        return self._client.batch_check(
            self._tenant, questions, on_behalf_of=on_behalf_of, trace_id=trace_id, revision=revision, at_least=at_least
        )

    def explain(
        self,
        principal: str,
        action: str,
        kind: str,
        namespace: str = "",
        *,
        resource_id: str = "",
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> PendingQuestion[access_service_pb2.ExplainResponse]:
        """The answer and its reasons, as the API returns them: rule, chain, near misses, remedy, and a summary in
        words."""
        return self._client.explain(
            self._tenant,
            principal,
            action,
            kind,
            namespace,
            resource_id=resource_id,
            on_behalf_of=on_behalf_of,
            trace_id=trace_id,
            revision=revision,
            at_least=at_least,
        )

    def check_operation(
        self,
        principal: str,
        operation: str,
        namespace: str = "",
        *,
        resource_id: str = "",
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> PendingQuestion[OperationAnswer]:
        """May every part of a compound operation of the vocabulary happen? One revision answers all parts."""
        return self._client.check_operation(
            self._tenant,
            principal,
            operation,
            namespace,
            resource_id=resource_id,
            on_behalf_of=on_behalf_of,
            trace_id=trace_id,
            revision=revision,
            at_least=at_least,
        )

    def guard_operation(
        self,
        principal: str,
        operation: str,
        namespace: str = "",
        *,
        resource_id: str = "",
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> PendingQuestion[OperationAnswer]:
        """Like `check_operation`, but returns only if the answer is an allow. Raises AccessDenied if it is a deny."""
        return self._client.guard_operation(
            self._tenant,
            principal,
            operation,
            namespace,
            resource_id=resource_id,
            on_behalf_of=on_behalf_of,
            trace_id=trace_id,
            revision=revision,
            at_least=at_least,
        )

    def check_reach(
        self,
        caller: str,
        owner: str,
        relation: str,
        *,
        resource_id: str = "",
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> PendingQuestion[Answer]:
        """May work in namespace `caller` use what namespace `owner` owns, by `relation`?"""
        return self._client.check_reach(
            self._tenant,
            caller,
            owner,
            relation,
            resource_id=resource_id,
            on_behalf_of=on_behalf_of,
            trace_id=trace_id,
            revision=revision,
            at_least=at_least,
        )

    def guard_reach(
        self,
        caller: str,
        owner: str,
        relation: str,
        *,
        resource_id: str = "",
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> PendingQuestion[Answer]:
        """Like `check_reach`, but returns only if the answer is an allow. Raises AccessDenied if it is a deny."""
        return self._client.guard_reach(
            self._tenant,
            caller,
            owner,
            relation,
            resource_id=resource_id,
            on_behalf_of=on_behalf_of,
            trace_id=trace_id,
            revision=revision,
            at_least=at_least,
        )

    def batch_check_reach(
        self,
        questions: Sequence[AskedReach],
        *,
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> PendingQuestion[list[Answer | DecisionUnavailable]]:
        """One result for each question, as in `batch_check`."""
        return self._client.batch_check_reach(
            self._tenant, questions, on_behalf_of=on_behalf_of, trace_id=trace_id, revision=revision, at_least=at_least
        )

    def check_reach_all(
        self,
        caller: str,
        owners: Sequence[str],
        relation: str,
        *,
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> PendingQuestion[ReachAllAnswer]:
        """May `caller` use every one of these owners (1 to 10,000), and which owners refuse?"""
        return self._client.check_reach_all(
            self._tenant,
            caller,
            owners,
            relation,
            on_behalf_of=on_behalf_of,
            trace_id=trace_id,
            revision=revision,
            at_least=at_least,
        )

    def guard_reach_all(
        self,
        caller: str,
        owners: Sequence[str],
        relation: str,
        *,
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> PendingQuestion[ReachAllAnswer]:
        """Like `check_reach_all`, but returns only if the answer is an allow. Raises AccessDenied if it is a deny."""
        return self._client.guard_reach_all(
            self._tenant,
            caller,
            owners,
            relation,
            on_behalf_of=on_behalf_of,
            trace_id=trace_id,
            revision=revision,
            at_least=at_least,
        )

    def explain_reach(
        self,
        caller: str,
        owner: str,
        relation: str,
        *,
        resource_id: str = "",
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> PendingQuestion[reach_service_pb2.ExplainReachResponse]:
        """The answer and its reasons, as the API returns them: row, later rows, near misses, remedy, and a summary in
        words."""
        return self._client.explain_reach(
            self._tenant,
            caller,
            owner,
            relation,
            resource_id=resource_id,
            on_behalf_of=on_behalf_of,
            trace_id=trace_id,
            revision=revision,
            at_least=at_least,
        )

    def list_reachable(
        self,
        namespace: str,
        *,
        relations: Sequence[str] = (),
        among: Sequence[str] = (),
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> PendingQuestion[reach_service_pb2.ListReachableResponse]:
        """What `namespace` can use, and who can use what it owns, by each of `relations` (all if empty): as patterns,
        and as the matching namespaces of `among`."""
        return self._client.list_reachable(
            self._tenant,
            namespace,
            relations=relations,
            among=among,
            on_behalf_of=on_behalf_of,
            trace_id=trace_id,
            revision=revision,
            at_least=at_least,
        )

    def list_actions(
        self,
        principal: str,
        namespace: str = "",
        *,
        kinds: Sequence[str] = (),
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> PendingQuestion[search_service_pb2.ListActionsResponse]:
        """What `principal` may do in the namespace, or in the tenant itself: actions of all kinds, or of `kinds`."""
        return self._client.list_actions(
            self._tenant,
            principal,
            namespace,
            kinds=kinds,
            on_behalf_of=on_behalf_of,
            trace_id=trace_id,
            revision=revision,
            at_least=at_least,
        )

    def list_namespaces(
        self,
        principal: str,
        action: str = "",
        kind: str = "",
        *,
        among: Sequence[str] = (),
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> PendingQuestion[search_service_pb2.ListNamespacesResponse]:
        """Where `principal` may do `action` (any if empty) on `kind` (any if empty): as patterns, and as the matching
        namespaces of `among`, at most 10,000."""
        return self._client.list_namespaces(
            self._tenant,
            principal,
            action,
            kind,
            among=among,
            on_behalf_of=on_behalf_of,
            trace_id=trace_id,
            revision=revision,
            at_least=at_least,
        )

    def list_principals(
        self,
        action: str,
        kind: str,
        namespace: str = "",
        *,
        page_size: int = 0,
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> AsyncIterator[search_service_pb2.PermittedPrincipal]:
        """Who may do `action` on `kind`, sorted by name, with the rule and the rows that lead to it. The client fetches
        pages of `page_size` (0: the server chooses) as you iterate. If the policy changes meanwhile, it raises
        DecisionUnavailable with the code FAILED_PRECONDITION: start again, earlier pages may be out of date."""
        return self._client.list_principals(
            self._tenant,
            action,
            kind,
            namespace,
            page_size=page_size,
            on_behalf_of=on_behalf_of,
            trace_id=trace_id,
            revision=revision,
            at_least=at_least,
        )

    def list_held(
        self,
        principal: str,
        *,
        page_size: int = 0,
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> AsyncIterator[search_service_pb2.HeldEntry]:
        """All that leads from a principal: its own rows first, then the groups and roles that it holds through them,
        each with the chain of rows, where it counts and when it ends. The client fetches pages of `page_size` (0: the
        server chooses) as you iterate, all by one revision."""
        return self._client.list_held(
            self._tenant,
            principal,
            page_size=page_size,
            on_behalf_of=on_behalf_of,
            trace_id=trace_id,
            revision=revision,
            at_least=at_least,
        )

    def list_matrix(
        self,
        rows: PrincipalRows | NamespaceRows,
        *,
        kinds: Sequence[str] = (),
        actions: Sequence[str] = (),
        page_size: int = 0,
        page_token: str = "",
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> PendingQuestion[search_service_pb2.ListMatrixResponse]:
        """One page of a table of decisions: `rows` by the actions of `kinds`, or `actions` of them (all if empty), at most
        60 columns. `page_size` is at most 100 rows. Pass the answer's `next_page_token` as `page_token`, with all else the
        same, for the next page: if the policy changed meanwhile, it raises DecisionUnavailable with the code
        FAILED_PRECONDITION."""
        return self._client.list_matrix(
            self._tenant,
            rows,
            kinds=kinds,
            actions=actions,
            page_size=page_size,
            page_token=page_token,
            on_behalf_of=on_behalf_of,
            trace_id=trace_id,
            revision=revision,
            at_least=at_least,
        )

    def plan_filter(
        self,
        principal: str,
        action: str,
        kind: str,
        *,
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> PendingQuestion[Plan]:
        """Where `principal` may do `action` on `kind`: the namespaces to filter a query by (see remit.client.sql)."""
        return self._client.plan_filter(
            self._tenant,
            principal,
            action,
            kind,
            on_behalf_of=on_behalf_of,
            trace_id=trace_id,
            revision=revision,
            at_least=at_least,
        )

    def visible_graph(
        self,
        principal: str,
        graph: Graph,
        *,
        action: str = "VIEW",
        omit: bool = False,
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> PendingQuestion[visibility_service_pb2.VisibleGraphResponse]:
        """What `principal` may see of the graph: the nodes where it may do `action`. The other nodes become nameless
        stubs; with `omit` they are left out with their edges."""
        return self._client.visible_graph(
            self._tenant,
            principal,
            graph,
            action=action,
            omit=omit,
            on_behalf_of=on_behalf_of,
            trace_id=trace_id,
            revision=revision,
            at_least=at_least,
        )

    def resolve_dedicated(
        self,
        namespace: str = "",
        resources: Sequence[str] = (),
        service: str = "",
        *,
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> PendingQuestion[resource_service_pb2.ResolveDedicatedResponse]:
        """The `resources` (`storage`, `secrets`, `worker_group`; all if empty) that serve a namespace, or the tenant
        itself, the level that assigns each, and whether `service` may use them."""
        return self._client.resolve_dedicated(
            self._tenant,
            namespace,
            resources,
            service,
            on_behalf_of=on_behalf_of,
            trace_id=trace_id,
            revision=revision,
            at_least=at_least,
        )

    def list_served(
        self,
        resource: str,
        name: str,
        *,
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> PendingQuestion[resource_service_pb2.ListServedResponse]:
        """The namespaces of a tenant that the named `resource` (`storage`, `secrets` or `worker_group`) serves; for the
        tenant `_instance`, the tenants."""
        return self._client.list_served(
            self._tenant,
            resource,
            name,
            on_behalf_of=on_behalf_of,
            trace_id=trace_id,
            revision=revision,
            at_least=at_least,
        )

    def status(self) -> PendingQuestion[status_service_pb2.GetStatusResponse]:
        """What the server serves, and its health."""
        return self._client.status(self._tenant)

    def change_bindings(
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
        on_behalf_of: str = "",
        trace_id: str = "",
    ) -> PendingQuestion[binding_service_pb2.ChangeBindingsResponse]:
        """Grants and revokes rows at run time, all or none. `granter` is the principal whose rights the change needs; ''
        is the caller itself. The answer's `position`, given as `at_least`, makes any node answer by the change. The client
        may send the request again when no answer comes: `request_id`, or one that it makes, keeps it from being made twice.
        With `dry_run`, nothing changes, and `effects` says who would gain and lose what."""
        return self._client.change_bindings(
            self._tenant,
            grants,
            revokes,
            granter=granter,
            reason=reason,
            expected_position=expected_position,
            must_exist=must_exist,
            must_not_exist=must_not_exist,
            request_id=request_id,
            dry_run=dry_run,
            on_behalf_of=on_behalf_of,
            trace_id=trace_id,
        )

    def diff_revisions(self, old: str = "", new: str = "") -> PendingQuestion[policy_service_pb2.DiffRevisionsResponse]:
        """Who gains and who loses what where, from revision `old` to revision `new`, and by which rows. A revision is given
        by 64 digits, or by 8 or more of the first digits of a stored one; empty is the one that serves. If the comparison
        takes longer than the call, it raises DecisionUnavailable with the code UNAVAILABLE: ask again for its result."""
        return self._client.diff_revisions(self._tenant, old, new)

    def import_bindings(
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
        on_behalf_of: str = "",
        trace_id: str = "",
    ) -> PendingQuestion[binding_service_pb2.ImportBindingsResponse]:
        """Grants up to 1,000,000 rows, all or none, as one change; with `replace`, revokes all other rows of run time. The
        rows are read as they are sent. No row may come twice. The client does not send an import again: with a
        `request_id` you may, and it is made once. `timeout_s` is its deadline. It needs gRPC."""
        return self._client.import_bindings(
            self._tenant,
            rows,
            granter=granter,
            reason=reason,
            replace=replace,
            expected_position=expected_position,
            request_id=request_id,
            dry_run=dry_run,
            timeout_s=timeout_s,
            on_behalf_of=on_behalf_of,
            trace_id=trace_id,
        )

    def export_bindings(self) -> AsyncIterator[GrantedBinding]:
        """All rows that were granted at run time and are in force at one position, by member, with who granted each, when
        and why. A stream that breaks raises DecisionUnavailable: begin again."""
        return self._client.export_bindings(self._tenant)

    def watch_bindings(self, after_position: str = "") -> AsyncIterator[WatchedChange]:
        """Every change of the tenant's rows after a position, in order, each once, without an end; '' is the beginning. If
        the server goes away, the client resumes where the stream ended. DecisionUnavailable with the code ABORTED says that
        the history does not hold the position any more: list the rows anew."""
        return self._client.watch_bindings(self._tenant, after_position)

    def list_bindings(self, member: str = "", holds: str = "", *, page_size: int = 0) -> AsyncIterator[GrantedRow]:
        """The rows that were granted at run time and are in force, by member; only those of `member` or to `holds`, if they
        are given. The client fetches pages of `page_size` (0: the server chooses) as you iterate."""
        return self._client.list_bindings(self._tenant, member, holds, page_size=page_size)

    def get_source(
        self, file: str = "", *, revision: str = "", first_line: int = 0, lines: int = 0
    ) -> PendingQuestion[policy_service_pb2.GetSourceResponse]:
        """The text of a revision: its files, at most 1,000, or lines of one of them from `first_line` on. `next_line` of
        the answer says where to go on. '' is the revision that serves."""
        return self._client.get_source(self._tenant, file, revision=revision, first_line=first_line, lines=lines)

    def get_tests(
        self, *, revision: str = "", failed_only: bool = False
    ) -> PendingQuestion[policy_service_pb2.GetTestsResponse]:
        """The tests of a revision's files: the first 1,000 cases, how many hold, and which rows none exercises. The server
        runs them when it is asked. '' is the revision that serves."""
        return self._client.get_tests(self._tenant, revision=revision, failed_only=failed_only)

    def get_vocabulary(
        self, *, revision: str = "", at_least: str = ""
    ) -> PendingQuestion[policy_service_pb2.GetVocabularyResponse]:
        """The words that the tenant's policy may use: kinds with their actions, relations, operations, services."""
        return self._client.get_vocabulary(self._tenant, revision=revision, at_least=at_least)

    def list_names(
        self,
        what: str,
        *,
        prefix: str = "",
        contains: str = "",
        page_size: int = 0,
        revision: str = "",
        at_least: str = "",
    ) -> AsyncIterator[UsedName]:
        """The names that the tenant's policy uses, sorted, with how many rows use each. `what` is namespace, pattern,
        group, role or principal. Only names that begin with `prefix`, and that have `contains` in them, in capitals or
        not. The client fetches pages of `page_size` (0: the server chooses) as you iterate."""
        return self._client.list_names(
            self._tenant,
            what,
            prefix=prefix,
            contains=contains,
            page_size=page_size,
            revision=revision,
            at_least=at_least,
        )

    def list_lifecycle(
        self,
        *,
        type: str = "",  # noqa: A002 (as the API has it)
        node: str = "",
        since_us: int = 0,
        until_us: int = 0,
        oldest_first: bool = False,
        after: str = "",
        page_size: int = 0,
        without_calls: bool = False,
    ) -> AsyncIterator[audit_service_pb2.LifecycleRecord]:
        """Events other than decisions, in pages like `list_records`. `without_calls` leaves out what callers cause at will:
        reads and refused calls."""
        return self._client.list_lifecycle(
            self._tenant,
            type=type,
            node=node,
            since_us=since_us,
            until_us=until_us,
            oldest_first=oldest_first,
            after=after,
            page_size=page_size,
            without_calls=without_calls,
        )

    def list_heads(self, *, page_size: int = 0) -> AsyncIterator[audit_service_pb2.ChainHead]:
        """The newest record of each chain, its last checkpoint, and how far the last recorded verification found it whole.
        In pages like `list_records`."""
        return self._client.list_heads(self._tenant, page_size=page_size)

    def explain_past(
        self,
        principal: str,
        action: str,
        kind: str,
        namespace: str = "",
        *,
        time_us: int = 0,
        revision: str = "",
        node: str = "",
    ) -> PendingQuestion[audit_service_pb2.ExplainPastResponse]:
        """What the answer was, or would have been, and why: by `revision`, or by the revision that served at `time_us`,
        microseconds since the Unix epoch, on every node or on `node`."""
        return self._client.explain_past(
            self._tenant, principal, action, kind, namespace, time_us=time_us, revision=revision, node=node
        )

    def explain_past_reach(
        self, caller: str, owner: str, relation: str, *, time_us: int = 0, revision: str = "", node: str = ""
    ) -> PendingQuestion[audit_service_pb2.ExplainPastResponse]:
        """Like `explain_past`, for reach: might work in namespace `caller` use what `owner` owns, by `relation`?"""
        return self._client.explain_past_reach(
            self._tenant, caller, owner, relation, time_us=time_us, revision=revision, node=node
        )
