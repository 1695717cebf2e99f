"""Runs modules against a server."""

import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from .http import HttpAnswer, HttpCaller, NoAnswerError, well_known
from .judge import (
    MOST_PAGES,
    PageLoopError,
    WrongAnswerError,
    as_suite_expects,
    judge,
    judge_metadata,
    next_token,
)
from .modules import ConformanceModule, Credentials, Level, Support, modules_of

_PATHS: Final = {
    "evaluation": "evaluation",
    "evaluations": "evaluations",
    "subject-search": "search/subject",
    "resource-search": "search/resource",
    "action-search": "search/action",
}
_MEMBERS: Final = {
    "evaluation": "access_evaluation_endpoint",
    "evaluations": "access_evaluations_endpoint",
    "subject-search": "search_subject_endpoint",
    "resource-search": "search_resource_endpoint",
    "action-search": "search_action_endpoint",
}


class ModuleOutcome(StrEnum):
    PASSED = "passed"
    WARNED = "warned"
    """Passed, with an answer that the specification advises against."""
    EXCEPTED = "excepted"
    """The suite and the specification contradict each other here, and the server did as one of them says."""
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ModuleResult:
    module: ConformanceModule
    outcome: ModuleOutcome
    detail: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ConformanceRun:
    """What to try, and where."""

    caller: HttpCaller
    identifier: str
    """The URL of the policy decision point."""
    levels: Sequence[Level]
    support: Support
    discover: bool = False
    """Take the endpoints from the metadata, not from the default paths."""

    def results(self) -> Iterator[ModuleResult]:
        """The result of each module, in order. Raises NoAnswerError if the server answers nothing at the start."""
        metadata = self._metadata() if self.discover or Level.DISCOVERY in self.levels else None
        if metadata is None:
            self.caller.call("GET", self.identifier, {})
        endpoints = self._endpoints(metadata)
        for level in self.levels:
            for module in modules_of(level):
                began = time.monotonic()
                outcome, detail = self._tried(module, metadata, endpoints)
                yield ModuleResult(module, outcome, detail, time.monotonic() - began)

    def _tried(
        self, module: ConformanceModule, metadata: HttpAnswer | None, endpoints: Mapping[str, str]
    ) -> tuple[ModuleOutcome, str]:
        skipped = self._skipped(module, endpoints)
        if skipped:
            return ModuleOutcome.SKIPPED, skipped
        try:
            if module.plan == "discovery":
                assert metadata is not None
                warnings = judge_metadata(module.expect["metadata"], metadata, self.identifier)
            else:
                answers = list(self._answers(module, endpoints[module.plan]))
                warnings = judge(module, answers)
                if module.exception is not None:
                    as_suite = as_suite_expects(module, answers[0])
                    followed = "the suite, against the specification" if as_suite else "the specification"
                    return ModuleOutcome.EXCEPTED, f"as {followed}: {module.exception.issue}"
        except (WrongAnswerError, NoAnswerError) as error:
            return ModuleOutcome.FAILED, str(error)
        return (ModuleOutcome.WARNED, "; ".join(warnings)) if warnings else (ModuleOutcome.PASSED, "")

    def _skipped(self, module: ConformanceModule, endpoints: Mapping[str, str]) -> str:
        if module.support is Support.PROPERTIES and self.support is Support.CORE:
            return "needs properties"
        if module.plan != "discovery" and module.plan not in endpoints:
            return f"the metadata names no `{_MEMBERS[module.plan]}`"
        credential = self.caller.credential
        if module.credentials is not Credentials.GIVEN and not (credential.authorization or credential.cert):
            return "needs a credential"
        if module.credentials is Credentials.WRONG and not credential.authorization:
            return "a wrong certificate ends in the TLS handshake"
        return ""

    def _answers(self, module: ConformanceModule, url: str) -> Iterator[HttpAnswer]:
        if not module.pages:
            for _ in range(module.repeat):
                yield self._answer(module, url)
            return
        token, seen = "", set[str]()
        while True:
            answer = self._answer(module, url, token)
            yield answer
            token = next_token(answer)
            if not token:
                return
            if token in seen or len(seen) == MOST_PAGES:
                raise PageLoopError(f"the pages do not end: expected at most {MOST_PAGES}, each with a new token")
            seen.add(token)

    def _answer(self, module: ConformanceModule, url: str, token: str = "") -> HttpAnswer:
        headers = {"Content-Type": module.content_type, "Accept-Charset": "UTF-8"}
        if module.request_id:
            headers["X-Request-ID"] = f"conformance-{uuid.uuid4()}"
        answer = self.caller.call(module.method, url, headers, module.sent(token), module.credentials)
        sent, got = headers.get("X-Request-ID"), answer.headers.get("x-request-id")
        if sent is not None and got != sent:
            raise WrongAnswerError(f"expected `X-Request-ID: {sent}`, got {'none' if got is None else f'`{got}`'}")
        return answer

    def _metadata(self) -> HttpAnswer:
        return self.caller.call("GET", well_known(self.identifier), {}, credentials=Credentials.NONE)

    def _endpoints(self, metadata: HttpAnswer | None) -> dict[str, str]:
        """The URL of each API, by plan. Raises NoAnswerError if they should be discovered and cannot be."""
        if not self.discover or metadata is None:
            return {plan: f"{self.identifier.removesuffix('/')}/access/v1/{path}" for plan, path in _PATHS.items()}
        try:
            judge_metadata("identifier", metadata, self.identifier)
            named = json.loads(metadata.body)
        except WrongAnswerError as error:
            raise NoAnswerError(f"{well_known(self.identifier)}: {error}") from None
        return {plan: named[member] for plan, member in _MEMBERS.items() if isinstance(named.get(member), str)}
