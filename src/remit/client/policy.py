"""The calls that read a policy itself: how to build each request and read its response. See the client's methods."""

from remit.client.call import ClientCall, Pages, ResultPage
from remit.client.decode import known
from remit.v1 import policy_service_pb2 as messages

_FIRST_PAGE = 1_000


def get_vocabulary(
    tenant: str, *, revision: str = "", at_least: str = ""
) -> ClientCall[messages.GetVocabularyResponse, messages.GetVocabularyResponse]:
    return ClientCall(lambda: messages.GetVocabularyRequest(tenant=tenant, revision=revision, at_least=at_least), known)


def list_names(
    tenant: str,
    what: str,
    *,
    prefix: str = "",
    contains: str = "",
    page_size: int = 0,
    revision: str = "",
    at_least: str = "",
) -> Pages[messages.UsedName]:
    def page(token: str) -> ClientCall[messages.ListNamesResponse, ResultPage[messages.UsedName]]:
        return ClientCall(
            lambda: messages.ListNamesRequest(
                tenant=tenant,
                what=_name_type(what),
                prefix=prefix,
                contains=contains,
                page_size=page_size,
                page_token=token,
                revision=revision,
                at_least=at_least,
            ),
            lambda response: ResultPage(response.names, response.next_page_token),
        )

    return page


def get_source(
    tenant: str, file: str = "", *, revision: str = "", first_line: int = 0, lines: int = 0
) -> ClientCall[messages.GetSourceResponse, messages.GetSourceResponse]:
    return ClientCall(
        lambda: messages.GetSourceRequest(
            tenant=tenant, revision=revision, file=file, first_line=first_line, lines=lines, page_size=_FIRST_PAGE
        ),
        known,
    )


def get_tests(
    tenant: str, *, revision: str = "", failed_only: bool = False
) -> ClientCall[messages.GetTestsResponse, messages.GetTestsResponse]:
    return ClientCall(
        lambda: messages.GetTestsRequest(
            tenant=tenant, revision=revision, failed_only=failed_only, page_size=_FIRST_PAGE
        ),
        known,
    )


def _name_type(name: str) -> messages.NameType.ValueType:
    try:
        return messages.NameType.Value(f"NAME_TYPE_{name.upper()}")
    except ValueError:
        expected = (each.removeprefix("NAME_TYPE_").lower() for each in messages.NameType.keys()[1:])
        raise ValueError(f"what: `{name}`: expected one of {', '.join(expected)}") from None


def diff_revisions(
    tenant: str, old: str = "", new: str = ""
) -> ClientCall[messages.DiffRevisionsResponse, messages.DiffRevisionsResponse]:
    return ClientCall(
        lambda: messages.DiffRevisionsRequest(tenant=tenant, old=old, new=new),
        lambda response: response,
    )
