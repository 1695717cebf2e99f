"""Judges answers: what is wrong with one, and what is only against the custom."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from .http import HttpAnswer
from .modules import ConformanceModule

MOST_PAGES: Final = 100
_OK: Final = 200
_UNAUTHORIZED: Final = 401
_JSON: Final = "application/json"
_LISTS_BY_PLAN: Final = {"subject-search": "subject", "resource-search": "resource"}


class WrongAnswerError(Exception):
    """The answer is not what the specification asks for."""


class PageLoopError(WrongAnswerError):
    """The pages of a search do not end."""


def judge(module: ConformanceModule, answers: Sequence[HttpAnswer]) -> list[str]:
    """Warnings about the answers to one module. Raises WrongAnswerError."""
    if module.plan == "discovery":
        raise ValueError("discovery is judged by `judge_metadata`")
    first = answers[0]
    statuses = module.expect.get("status")
    if statuses is not None:
        return _judge_status(first, statuses)
    bodies = [_object(each) for each in answers]
    warnings: list[str] = []
    for body in bodies:
        warnings += _judge_form(module, body)
    if module.pages:
        _judge_results(module, [result for body in bodies for result in body["results"]])
    elif module.exception is not None and _matches(module.exception.suite, bodies[0]):
        pass
    else:
        _judge_body(module, bodies[0])
    if module.repeat > 1:
        _judge_same(module, bodies)
    return list(dict.fromkeys(warnings))


def next_token(answer: HttpAnswer) -> str:
    """The token of the next page; empty after the last one."""
    page = _object(answer).get("page")
    token = page.get("next_token") if isinstance(page, dict) else ""
    return token if isinstance(token, str) else ""


def as_suite_expects(module: ConformanceModule, answer: HttpAnswer) -> bool:
    """True if the answer is what the suite expects against the specification."""
    return module.exception is not None and _matches(module.exception.suite, _object(answer))


def judge_metadata(check: str, answer: HttpAnswer, identifier: str) -> list[str]:
    """As `judge`, for one check of the metadata."""
    metadata = _object(answer)
    endpoints = {name: value for name, value in metadata.items() if name.endswith("_endpoint")}
    warnings: list[str] = []
    match check:
        case "served":
            pass
        case "identifier":
            found = metadata.get("policy_decision_point")
            _expect(found == identifier, f"`policy_decision_point` {_shown(identifier)}", _shown(found))
        case "evaluation-endpoint":
            found = metadata.get("access_evaluation_endpoint")
            _expect(isinstance(found, str), "`access_evaluation_endpoint` as a text", _shown(found))
            warnings += [
                f"`{name}` has no `/v1` in its path" for name, url in endpoints.items() if "/v1" not in str(url)
            ]
        case "endpoints-https":
            for name, url in {**endpoints, "policy_decision_point": metadata.get("policy_decision_point")}.items():
                _expect(isinstance(url, str) and url.startswith("https://"), f"`{name}` with https", _shown(url))
        case "no-empty-members":
            empty = [name for name, value in metadata.items() if value in (None, "", [], {})]
            _expect(not empty, "no member without a value", f"`{'`, `'.join(empty)}` without one")
        case "capabilities":
            found = metadata.get("capabilities", ["urn:"])
            good = isinstance(found, list) and all(isinstance(each, str) and each for each in found)
            _expect(good, "`capabilities` as a list of texts, or left out", _shown(found))
        case _:
            raise ValueError(f"no check `{check}`")
    return warnings


def _judge_status(answer: HttpAnswer, statuses: Sequence[int]) -> list[str]:
    expected = " or ".join(map(str, statuses))
    _expect(answer.status in statuses, f"status {expected}", f"{answer.status} {answer.text}".rstrip())
    if answer.status == _UNAUTHORIZED and "www-authenticate" not in answer.headers:
        return ["status 401 without `WWW-Authenticate`"]
    return []


def _object(answer: HttpAnswer) -> dict[str, Any]:
    _expect(answer.status == _OK, "status 200", f"{answer.status} {answer.text}".rstrip())
    content_type = answer.headers.get("content-type", "none")
    _expect(content_type.partition(";")[0].strip().lower() == _JSON, f"`Content-Type: {_JSON}`", f"`{content_type}`")
    try:
        body = json.loads(answer.body)
    except ValueError:
        raise WrongAnswerError(f"expected JSON, got {answer.text}") from None
    if not isinstance(body, dict):
        raise WrongAnswerError(f"expected a JSON object, got {answer.text}")
    return body


def _judge_form(module: ConformanceModule, body: dict[str, Any]) -> Iterator[str]:
    """The rules that every answer of an API keeps. Yields warnings."""
    if "decision" in module.expect:
        _expect(isinstance(body.get("decision"), bool), "a boolean `decision`", _shown(body))
        _expect("evaluations" not in body, "no `evaluations` in the answer to a single question", _shown(body))
    elif "evaluations" in module.expect:
        items = body.get("evaluations")
        if not isinstance(items, list):
            raise WrongAnswerError(f"expected a list `evaluations`, got {_shown(body)}")
        for item in items:
            good = isinstance(item, dict) and isinstance(item.get("decision"), bool)
            _expect(good, "items with a boolean `decision`", _shown(item))
        if "decision" in body:
            yield "a `decision` beside `evaluations`"
    else:
        results = body.get("results")
        if not isinstance(results, list):
            raise WrongAnswerError(f"expected a list `results`, got {_shown(body)}")
        for result in results:
            _judge_result(module, result)
        yield from _judge_page(body)


def _judge_result(module: ConformanceModule, result: Any) -> None:
    member = _LISTS_BY_PLAN.get(module.plan)
    if member is None:
        good = isinstance(result, dict) and isinstance(result.get("name"), str) and result["name"]
        _expect(bool(good), "results with a `name`", _shown(result))
        return
    wanted = module.request[member]["type"]
    good = isinstance(result, dict) and isinstance(result.get("id"), str) and result.get("type") == wanted
    _expect(good, f"results with an `id` and the type `{wanted}`", _shown(result))


def _judge_page(body: dict[str, Any]) -> Iterator[str]:
    if "page" not in body:
        return
    page = body["page"]
    good = isinstance(page, dict) and isinstance(page.get("next_token"), str)
    _expect(good, "a `page` with a text `next_token`", _shown(page))
    for name in ("count", "total"):
        number = page.get(name, 0)
        good = isinstance(number, int) and not isinstance(number, bool) and number >= 0
        _expect(good, f"`page.{name}` as a count", _shown(number))
    _expect(isinstance(page.get("properties", {}), dict), "`page.properties` as an object", _shown(page))
    if next(iter(body)) != "page":
        yield "`page` is not the first member"


def _judge_body(module: ConformanceModule, body: dict[str, Any]) -> None:
    expect = module.expect
    if "decision" in expect:
        _expect(body["decision"] is expect["decision"], f"decision {_shown(expect['decision'])}", _shown(body))
    elif "evaluations" in expect:
        got = [each["decision"] for each in body["evaluations"]]
        _expect(got == expect["evaluations"], f"decisions {_shown(expect['evaluations'])}", _shown(got))
    else:
        _judge_results(module, body["results"])


def _judge_results(module: ConformanceModule, results: Sequence[Any]) -> None:
    wanted = module.expect["results"]
    if not wanted:
        _expect(not results, "no results", _shown(results))
    missing = [each for each in wanted if each not in results]
    _expect(not missing, f"results with {_shown(missing)}", _shown(results))


def _judge_same(module: ConformanceModule, bodies: Sequence[dict[str, Any]]) -> None:
    """A single evaluation compares its decision; other answers the whole body, without order and without page tokens."""
    shown = [_comparable(module, body) for body in bodies]
    _expect(all(each == shown[0] for each in shown), "the same answer each time", " and ".join(dict.fromkeys(shown)))


def _comparable(module: ConformanceModule, body: dict[str, Any]) -> str:
    if "decision" in module.expect:
        return json.dumps(body["decision"])
    shown = dict(body)
    if "results" in shown:
        shown["results"] = sorted(json.dumps(each, sort_keys=True) for each in shown["results"])
    if isinstance(shown.get("page"), dict):
        shown["page"] = {**shown["page"], "next_token": bool(shown["page"].get("next_token"))}
    return json.dumps(shown, sort_keys=True)


def _matches(expect: Mapping[str, Any], body: dict[str, Any]) -> bool:
    return bool([each.get("decision") for each in body["evaluations"]] == expect["evaluations"])


def _expect(good: bool, expected: str, got: str) -> None:
    if not good:
        raise WrongAnswerError(f"expected {expected}, got {got}")


def _shown(value: Any, most: int = 200) -> str:
    text = json.dumps(value)
    return text if len(text) <= most else f"{text[:most]}…"
