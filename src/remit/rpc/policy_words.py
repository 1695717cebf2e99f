"""The calls of the policy service that a snapshot answers: words and names of a policy."""

from typing import Final

import grpc

from remit.core.errors import violation
from remit.engine.queries.names import NameCategory, NameIndex
from remit.engine.snapshot import Snapshot
from remit.rpc.page_token import paged
from remit.rpc.query_servicer import QueryServicer
from remit.v1 import policy_service_pb2 as messages

_TYPES: Final = {messages.NameType.Value(f"NAME_TYPE_{each.name}"): each for each in NameCategory}
_MOST_CHARACTERS: Final = 512


class PolicyWordsServicer(QueryServicer):
    """Words and names of policies. Its answers say nothing of who may what, and leave no record."""

    def GetVocabulary(
        self, request: messages.GetVocabularyRequest, context: grpc.ServicerContext
    ) -> messages.GetVocabularyResponse:
        snapshot = self._snapshot(request, context)
        words = snapshot.policy.vocabulary
        kinds = words.kinds_of(snapshot.tenant)
        return messages.GetVocabularyResponse(
            kinds=[
                messages.VocabularyKind(
                    kind=each.name,
                    kind_class=messages.KindClass.Value(f"KIND_CLASS_{each.kind_class.name}"),
                    actions=sorted(each.actions),
                )
                for each in kinds.values()
            ],
            relations=[
                messages.VocabularyRelation(relation=each.name, inherited=each.inherited)
                for each in words.relations.values()
            ],
            operations=[
                messages.VocabularyOperation(
                    operation=name,
                    checks=[
                        messages.VocabularyCheck(kind=each.kind, action=each.action, at_parent=each.at_parent)
                        for each in checks
                    ],
                )
                for name, checks in words.operations.items()
            ],
            services=words.services,
            revision=snapshot.revision,
            position=_position(snapshot),
        )

    def ListNames(
        self, request: messages.ListNamesRequest, context: grpc.ServicerContext
    ) -> messages.ListNamesResponse:
        type_ = _TYPES.get(request.what)
        if type_ is None:
            known = ", ".join(f"NAME_TYPE_{each.name}" for each in NameCategory)
            raise violation("what", f"is missing or unknown: expected one of {known}")
        for field, text in (("prefix", request.prefix), ("contains", request.contains)):
            if len(text) > _MOST_CHARACTERS:
                raise violation(field, f"holds {len(text)} characters: expected at most {_MOST_CHARACTERS}")
        snapshot = self._snapshot(request, context)
        size, page = paged(request)
        page.holds_for(snapshot.revision)
        found = self._index(snapshot, context).page(type_, request.prefix, request.contains, page.after, size)
        response = messages.ListNamesResponse(
            total=found.total, revision=snapshot.revision, position=_position(snapshot)
        )
        for name, rows, others in found.names:
            response.names.add(name=name, rows=rows, others=others)
        if not found.last:
            response.next_page_token = page.next(found.names[-1].name, snapshot.revision)
        return response

    def _index(self, snapshot: Snapshot, context: grpc.ServicerContext) -> NameIndex:
        del context
        return NameIndex.of(snapshot.policy)


def _position(snapshot: Snapshot) -> str:
    return str(snapshot.position) if snapshot.position is not None else ""
