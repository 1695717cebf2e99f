"""The client for threads. `make client` writes it from async_client.py: do not edit.

It is long because each method is written out, for readers, editors and type checkers.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from google.protobuf.message import Message

from remit.client import access, audit, bindings, policy, reach, search
from remit.client import resources as dedicated
from remit.client.access import guarded
from remit.client.answers import Answer, OperationAnswer, Plan, ReachAllAnswer
from remit.client.batch_parts import BatchParts
from remit.client.bindings import GrantedBinding, WatchedChange
from remit.client.call import ClientCall
from remit.client.errors import DecisionUnavailable
from remit.client.questions import Asked, AskedReach, Graph, NamespaceRows, PrincipalRows, RuntimeBinding
from remit.client.sync_transport import SyncTransport
from remit.client.tenant_client import TenantClient
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
from remit.v1.audit_service_pb2 import Record, RecordFilter
from remit.v1.binding_service_pb2 import GrantedRow
from remit.v1.policy_service_pb2 import UsedName


class Client(SyncTransport):
    """Asks a remit server. Safe to share between threads; close it, or use it in a `with`.

    Every method raises DecisionUnavailable if there is no answer. The guards raise AccessDenied if the answer is a
    deny. Nothing else is raised. The client never invents an answer: a server that is away is not an allow.
    """

    def tenant(self, tenant: str) -> TenantClient:
        """This client for one tenant: the same methods without their first parameter."""
        return TenantClient(self, tenant)

    def check(
        self,
        tenant: str,
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
    ) -> Answer:
        """The answer, allow or deny. With `revision`, that revision decides, or there is no answer. With `at_least`, a
        policy decides that knows of the write or the answer that gave this position, or there is no answer."""
        return self._ask(
            access.check(
                tenant,
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
        )

    def guard(
        self,
        tenant: str,
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
    ) -> Answer:
        """Like `check`, but returns only if the answer is an allow. Raises AccessDenied if it is a deny."""
        return self._ask(
            guarded(
                access.check(
                    tenant,
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
            )
        )

    def batch_check(
        self,
        tenant: str,
        questions: Sequence[Asked],
        *,
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> list[Answer | DecisionUnavailable]:
        """One result for each question, in order, all by one revision. A malformed question does not fail the others:
        its result is a MalformedQuestion, returned and not raised. More questions than the server takes are asked in
        several calls, within one deadline; if the policy changes between them, there is no answer."""

        def call(part: Sequence[Asked], by: str) -> ClientCall[Any, list[Answer | DecisionUnavailable]]:
            return access.batch_check(
                tenant, part, on_behalf_of=on_behalf_of, trace_id=trace_id, revision=by, at_least=at_least
            )

        return self._ask_parts(BatchParts(call, questions, revision))

    def explain(
        self,
        tenant: str,
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
    ) -> access_service_pb2.ExplainResponse:
        """The answer and its reasons, as the API returns them: rule, chain, near misses, remedy, and a summary in
        words."""
        return self._ask(
            access.explain(
                tenant,
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
        )

    def check_operation(
        self,
        tenant: str,
        principal: str,
        operation: str,
        namespace: str = "",
        *,
        resource_id: str = "",
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> OperationAnswer:
        """May every part of a compound operation of the vocabulary happen? One revision answers all parts."""
        return self._ask(
            access.check_operation(
                tenant,
                principal,
                operation,
                namespace,
                resource_id=resource_id,
                on_behalf_of=on_behalf_of,
                trace_id=trace_id,
                revision=revision,
                at_least=at_least,
            )
        )

    def guard_operation(
        self,
        tenant: str,
        principal: str,
        operation: str,
        namespace: str = "",
        *,
        resource_id: str = "",
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> OperationAnswer:
        """Like `check_operation`, but returns only if the answer is an allow. Raises AccessDenied if it is a deny."""
        return self._ask(
            guarded(
                access.check_operation(
                    tenant,
                    principal,
                    operation,
                    namespace,
                    resource_id=resource_id,
                    on_behalf_of=on_behalf_of,
                    trace_id=trace_id,
                    revision=revision,
                    at_least=at_least,
                )
            )
        )

    def check_reach(
        self,
        tenant: str,
        caller: str,
        owner: str,
        relation: str,
        *,
        resource_id: str = "",
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> Answer:
        """May work in namespace `caller` use what namespace `owner` owns, by `relation`?"""
        return self._ask(
            reach.check_reach(
                tenant,
                caller,
                owner,
                relation,
                resource_id=resource_id,
                on_behalf_of=on_behalf_of,
                trace_id=trace_id,
                revision=revision,
                at_least=at_least,
            )
        )

    def guard_reach(
        self,
        tenant: str,
        caller: str,
        owner: str,
        relation: str,
        *,
        resource_id: str = "",
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> Answer:
        """Like `check_reach`, but returns only if the answer is an allow. Raises AccessDenied if it is a deny."""
        return self._ask(
            guarded(
                reach.check_reach(
                    tenant,
                    caller,
                    owner,
                    relation,
                    resource_id=resource_id,
                    on_behalf_of=on_behalf_of,
                    trace_id=trace_id,
                    revision=revision,
                    at_least=at_least,
                )
            )
        )

    def batch_check_reach(
        self,
        tenant: str,
        questions: Sequence[AskedReach],
        *,
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> list[Answer | DecisionUnavailable]:
        """One result for each question, as in `batch_check`."""

        def call(part: Sequence[AskedReach], by: str) -> ClientCall[Any, list[Answer | DecisionUnavailable]]:
            return reach.batch_check_reach(
                tenant, part, on_behalf_of=on_behalf_of, trace_id=trace_id, revision=by, at_least=at_least
            )

        return self._ask_parts(BatchParts(call, questions, revision))

    def check_reach_all(
        self,
        tenant: str,
        caller: str,
        owners: Sequence[str],
        relation: str,
        *,
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> ReachAllAnswer:
        """May `caller` use every one of these owners (1 to 10,000), and which owners refuse?"""
        return self._ask(
            reach.check_reach_all(
                tenant,
                caller,
                owners,
                relation,
                on_behalf_of=on_behalf_of,
                trace_id=trace_id,
                revision=revision,
                at_least=at_least,
            )
        )

    def guard_reach_all(
        self,
        tenant: str,
        caller: str,
        owners: Sequence[str],
        relation: str,
        *,
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> ReachAllAnswer:
        """Like `check_reach_all`, but returns only if the answer is an allow. Raises AccessDenied if it is a deny."""
        return self._ask(
            guarded(
                reach.check_reach_all(
                    tenant,
                    caller,
                    owners,
                    relation,
                    on_behalf_of=on_behalf_of,
                    trace_id=trace_id,
                    revision=revision,
                    at_least=at_least,
                )
            )
        )

    def explain_reach(
        self,
        tenant: str,
        caller: str,
        owner: str,
        relation: str,
        *,
        resource_id: str = "",
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> reach_service_pb2.ExplainReachResponse:
        """The answer and its reasons, as the API returns them: row, later rows, near misses, remedy, and a summary in
        words."""
        return self._ask(
            reach.explain_reach(
                tenant,
                caller,
                owner,
                relation,
                resource_id=resource_id,
                on_behalf_of=on_behalf_of,
                trace_id=trace_id,
                revision=revision,
                at_least=at_least,
            )
        )

    def list_reachable(
        self,
        tenant: str,
        namespace: str,
        *,
        relations: Sequence[str] = (),
        among: Sequence[str] = (),
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> reach_service_pb2.ListReachableResponse:
        """What `namespace` can use, and who can use what it owns, by each of `relations` (all if empty): as patterns,
        and as the matching namespaces of `among`."""
        return self._ask(
            reach.list_reachable(
                tenant,
                namespace,
                relations=relations,
                among=among,
                on_behalf_of=on_behalf_of,
                trace_id=trace_id,
                revision=revision,
                at_least=at_least,
            )
        )

    def list_actions(
        self,
        tenant: str,
        principal: str,
        namespace: str = "",
        *,
        kinds: Sequence[str] = (),
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> search_service_pb2.ListActionsResponse:
        """What `principal` may do in the namespace, or in the tenant itself: actions of all kinds, or of `kinds`."""
        return self._ask(
            search.list_actions(
                tenant,
                principal,
                namespace,
                kinds=kinds,
                on_behalf_of=on_behalf_of,
                trace_id=trace_id,
                revision=revision,
                at_least=at_least,
            )
        )

    def list_namespaces(
        self,
        tenant: str,
        principal: str,
        action: str = "",
        kind: str = "",
        *,
        among: Sequence[str] = (),
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> search_service_pb2.ListNamespacesResponse:
        """Where `principal` may do `action` (any if empty) on `kind` (any if empty): as patterns, and as the matching
        namespaces of `among`, at most 10,000."""
        return self._ask(
            search.list_namespaces(
                tenant,
                principal,
                action,
                kind,
                among=among,
                on_behalf_of=on_behalf_of,
                trace_id=trace_id,
                revision=revision,
                at_least=at_least,
            )
        )

    def list_principals(
        self,
        tenant: str,
        action: str,
        kind: str,
        namespace: str = "",
        *,
        page_size: int = 0,
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> Iterator[search_service_pb2.PermittedPrincipal]:
        """Who may do `action` on `kind`, sorted by name, with the rule and the rows that lead to it. The client fetches
        pages of `page_size` (0: the server chooses) as you iterate. If the policy changes meanwhile, it raises
        DecisionUnavailable with the code FAILED_PRECONDITION: start again, earlier pages may be out of date."""
        return self._walk(
            search.list_principals(
                tenant,
                action,
                kind,
                namespace,
                page_size=page_size,
                on_behalf_of=on_behalf_of,
                trace_id=trace_id,
                revision=revision,
                at_least=at_least,
            )
        )

    def list_held(
        self,
        tenant: str,
        principal: str,
        *,
        page_size: int = 0,
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> Iterator[search_service_pb2.HeldEntry]:
        """All that leads from a principal: its own rows first, then the groups and roles that it holds through them,
        each with the chain of rows, where it counts and when it ends. The client fetches pages of `page_size` (0: the
        server chooses) as you iterate, all by one revision."""
        return self._walk(
            search.list_held(
                tenant,
                principal,
                page_size=page_size,
                on_behalf_of=on_behalf_of,
                trace_id=trace_id,
                revision=revision,
                at_least=at_least,
            )
        )

    def list_matrix(
        self,
        tenant: str,
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
    ) -> search_service_pb2.ListMatrixResponse:
        """One page of a table of decisions: `rows` by the actions of `kinds`, or `actions` of them (all if empty), at most
        60 columns. `page_size` is at most 100 rows. Pass the answer's `next_page_token` as `page_token`, with all else the
        same, for the next page: if the policy changed meanwhile, it raises DecisionUnavailable with the code
        FAILED_PRECONDITION."""
        return self._ask(
            search.list_matrix(
                tenant,
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
        )

    def plan_filter(
        self,
        tenant: str,
        principal: str,
        action: str,
        kind: str,
        *,
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> Plan:
        """Where `principal` may do `action` on `kind`: the namespaces to filter a query by (see remit.client.sql)."""
        return self._ask(
            search.plan_filter(
                tenant,
                principal,
                action,
                kind,
                on_behalf_of=on_behalf_of,
                trace_id=trace_id,
                revision=revision,
                at_least=at_least,
            )
        )

    def visible_graph(
        self,
        tenant: str,
        principal: str,
        graph: Graph,
        *,
        action: str = "VIEW",
        omit: bool = False,
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> visibility_service_pb2.VisibleGraphResponse:
        """What `principal` may see of the graph: the nodes where it may do `action`. The other nodes become nameless
        stubs; with `omit` they are left out with their edges."""
        return self._ask(
            dedicated.visible_graph(
                tenant,
                principal,
                graph,
                action=action,
                omit=omit,
                on_behalf_of=on_behalf_of,
                trace_id=trace_id,
                revision=revision,
                at_least=at_least,
            )
        )

    def resolve_dedicated(
        self,
        tenant: str,
        namespace: str = "",
        resources: Sequence[str] = (),
        service: str = "",
        *,
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> resource_service_pb2.ResolveDedicatedResponse:
        """The `resources` (`storage`, `secrets`, `worker_group`; all if empty) that serve a namespace, or the tenant
        itself, the level that assigns each, and whether `service` may use them."""
        return self._ask(
            dedicated.resolve_dedicated(
                tenant,
                namespace,
                resources,
                service,
                on_behalf_of=on_behalf_of,
                trace_id=trace_id,
                revision=revision,
                at_least=at_least,
            )
        )

    def list_served(
        self,
        tenant: str,
        resource: str,
        name: str,
        *,
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
        at_least: str = "",
    ) -> resource_service_pb2.ListServedResponse:
        """The namespaces of a tenant that the named `resource` (`storage`, `secrets` or `worker_group`) serves; for the
        tenant `_instance`, the tenants."""
        return self._ask(
            dedicated.list_served(
                tenant,
                resource,
                name,
                on_behalf_of=on_behalf_of,
                trace_id=trace_id,
                revision=revision,
                at_least=at_least,
            )
        )

    def status(self, tenant: str = "") -> status_service_pb2.GetStatusResponse:
        """What the server serves, and its health."""
        return self._ask(access.status(tenant))

    def change_bindings(
        self,
        tenant: str,
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
    ) -> binding_service_pb2.ChangeBindingsResponse:
        """Grants and revokes rows at run time, all or none. `granter` is the principal whose rights the change needs; ''
        is the caller itself. The answer's `position`, given as `at_least`, makes any node answer by the change. The client
        may send the request again when no answer comes: `request_id`, or one that it makes, keeps it from being made twice.
        With `dry_run`, nothing changes, and `effects` says who would gain and lose what."""
        return self._ask(
            bindings.change_bindings(
                tenant,
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
        )

    def diff_revisions(self, tenant: str, old: str = "", new: str = "") -> policy_service_pb2.DiffRevisionsResponse:
        """Who gains and who loses what where, from revision `old` to revision `new`, and by which rows. A revision is given
        by 64 digits, or by 8 or more of the first digits of a stored one; empty is the one that serves. If the comparison
        takes longer than the call, it raises DecisionUnavailable with the code UNAVAILABLE: ask again for its result."""
        return self._ask(policy.diff_revisions(tenant, old, new))

    def import_bindings(
        self,
        tenant: str,
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
    ) -> binding_service_pb2.ImportBindingsResponse:
        """Grants up to 1,000,000 rows, all or none, as one change; with `replace`, revokes all other rows of run time. The
        rows are read as they are sent. No row may come twice. The client does not send an import again: with a
        `request_id` you may, and it is made once. `timeout_s` is its deadline. It needs gRPC."""
        return self._upload(
            bindings.import_bindings(
                tenant,
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
        )

    def export_bindings(self, tenant: str) -> Iterator[GrantedBinding]:
        """All rows that were granted at run time and are in force at one position, by member, with who granted each, when
        and why. A stream that breaks raises DecisionUnavailable: begin again."""
        return self._follow(bindings.ExportStream(tenant))

    def watch_bindings(self, tenant: str, after_position: str = "") -> Iterator[WatchedChange]:
        """Every change of the tenant's rows after a position, in order, each once, without an end; '' is the beginning. If
        the server goes away, the client resumes where the stream ended. DecisionUnavailable with the code ABORTED says that
        the history does not hold the position any more: list the rows anew."""
        return self._follow(bindings.BindingStream(tenant, after_position))

    def list_bindings(
        self, tenant: str, member: str = "", holds: str = "", *, page_size: int = 0
    ) -> Iterator[GrantedRow]:
        """The rows that were granted at run time and are in force, by member; only those of `member` or to `holds`, if they
        are given. The client fetches pages of `page_size` (0: the server chooses) as you iterate."""
        return self._walk(bindings.list_bindings(tenant, member, holds, page_size=page_size))

    def get_source(
        self, tenant: str, file: str = "", *, revision: str = "", first_line: int = 0, lines: int = 0
    ) -> policy_service_pb2.GetSourceResponse:
        """The text of a revision: its files, at most 1,000, or lines of one of them from `first_line` on. `next_line` of
        the answer says where to go on. '' is the revision that serves."""
        return self._ask(policy.get_source(tenant, file, revision=revision, first_line=first_line, lines=lines))

    def get_tests(
        self, tenant: str, *, revision: str = "", failed_only: bool = False
    ) -> policy_service_pb2.GetTestsResponse:
        """The tests of a revision's files: the first 1,000 cases, how many hold, and which rows none exercises. The server
        runs them when it is asked. '' is the revision that serves."""
        return self._ask(policy.get_tests(tenant, revision=revision, failed_only=failed_only))

    def get_vocabulary(
        self, tenant: str, *, revision: str = "", at_least: str = ""
    ) -> policy_service_pb2.GetVocabularyResponse:
        """The words that the tenant's policy may use: kinds with their actions, relations, operations, services."""
        return self._ask(policy.get_vocabulary(tenant, revision=revision, at_least=at_least))

    def list_names(
        self,
        tenant: str,
        what: str,
        *,
        prefix: str = "",
        contains: str = "",
        page_size: int = 0,
        revision: str = "",
        at_least: str = "",
    ) -> Iterator[UsedName]:
        """The names that the tenant's policy uses, sorted, with how many rows use each. `what` is namespace, pattern,
        group, role or principal. Only names that begin with `prefix`, and that have `contains` in them, in capitals or
        not. The client fetches pages of `page_size` (0: the server chooses) as you iterate."""
        return self._walk(
            policy.list_names(
                tenant,
                what,
                prefix=prefix,
                contains=contains,
                page_size=page_size,
                revision=revision,
                at_least=at_least,
            )
        )

    def list_records(
        self, where: RecordFilter | None = None, *, oldest_first: bool = False, after: str = "", page_size: int = 0
    ) -> Iterator[Record]:
        """The decisions that `where` selects, newest or oldest first, starting after the record with the id `after`.
        The client fetches pages of `page_size` (0: the server chooses) as you iterate."""
        return self._walk(audit.list_records(where, oldest_first=oldest_first, after=after, page_size=page_size))

    def get_record(self, decision_id: str) -> audit_service_pb2.GetRecordResponse:
        """One decision, its place in its chain, and its reasons by the policy of that time."""
        return self._ask(audit.get_record(decision_id))

    def follow_records(self, where: RecordFilter | None = None, *, after: str = "") -> Iterator[Record]:
        """The decisions that `where` selects, as they are committed, each once, without an end: from the first step of
        the iteration on, or from `since_us` or `after` on. If the server goes away, the client resumes where the stream
        ended. It raises DecisionUnavailable if the server is away for longer than the timeout of a call."""
        return self._follow(audit.RecordStream(where, after))

    def count_records(
        self,
        where: RecordFilter | None = None,
        group_by: Sequence[str] = (),
        *,
        most_first: bool = False,
        page_size: int = 0,
    ) -> Iterator[audit_service_pb2.RecordCount]:
        """The number of decisions, by whole hours, for each group of tenant, principal, namespace, revision, caller,
        question, effect, reason, node, hour and day; with `most_first`, only the largest `page_size` groups."""
        return self._walk(audit.count_records(where, group_by, most_first=most_first, page_size=page_size))

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
    ) -> Iterator[audit_service_pb2.LifecycleRecord]:
        """Events other than decisions, in pages like `list_records`. `without_calls` leaves out what callers cause at will:
        reads and refused calls."""
        return self._walk(
            audit.list_lifecycle(
                tenant,
                type=type,
                node=node,
                since_us=since_us,
                until_us=until_us,
                oldest_first=oldest_first,
                after=after,
                page_size=page_size,
                without_calls=without_calls,
            )
        )

    def list_heads(self, tenant: str = "", *, page_size: int = 0) -> Iterator[audit_service_pb2.ChainHead]:
        """The newest record of each chain, its last checkpoint, and how far the last recorded verification found it whole.
        In pages like `list_records`."""
        return self._walk(audit.list_heads(tenant, page_size=page_size))

    def explain_past(
        self,
        tenant: str,
        principal: str,
        action: str,
        kind: str,
        namespace: str = "",
        *,
        time_us: int = 0,
        revision: str = "",
        node: str = "",
    ) -> audit_service_pb2.ExplainPastResponse:
        """What the answer was, or would have been, and why: by `revision`, or by the revision that served at `time_us`,
        microseconds since the Unix epoch, on every node or on `node`."""
        return self._ask(
            audit.explain_past(
                tenant, principal, action, kind, namespace, time_us=time_us, revision=revision, node=node
            )
        )

    def explain_past_reach(
        self,
        tenant: str,
        caller: str,
        owner: str,
        relation: str,
        *,
        time_us: int = 0,
        revision: str = "",
        node: str = "",
    ) -> audit_service_pb2.ExplainPastResponse:
        """Like `explain_past`, for reach: might work in namespace `caller` use what `owner` owns, by `relation`?"""
        return self._ask(
            audit.explain_past_reach(tenant, caller, owner, relation, time_us=time_us, revision=revision, node=node)
        )

    def ask(self, request: Message) -> Any:
        """The API's response to any request, not decoded, with this client's deadline, retries and errors."""
        return self._ask(ClientCall(lambda: request, lambda response: response))
