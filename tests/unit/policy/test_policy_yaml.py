"""The part of YAML that policy files are written in."""

import pytest
import yaml as pyyaml

from remit.policy.read import yaml
from remit.policy.read.report import Diagnostics
from remit.policy.read.yaml import parse_yaml, plain


def parsed(text: str) -> tuple[object, list[str]]:
    report = Diagnostics()
    node = parse_yaml("x.yaml", text, report)
    return (plain(node) if node is not None else None), [str(each) for each in report.diagnostics]


@pytest.fixture(autouse=True, params=["CSafeLoader", "SafeLoader"])
def _loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """libyaml and the plain Python parser, which is used where libyaml is missing, tell some things differently."""
    monkeypatch.setattr(yaml, "_LOADER", getattr(pyyaml, request.param))


REFUSED = {
    "anchor": ("a: &x 1\n", "1:4: anchor `&x`"),
    "anchor on a mapping": ("a: &x {b: c}\n", "1:4: anchor `&x`"),
    "alias": ("a: *x\n", "1:4: alias `*x`"),
    "tag": ("a: !!str 1\n", "1:4: tag `tag:yaml.org,2002:str`"),
    "local tag": ("a: !x {b: c}\n", "1:4: tag `!x`"),
    "python tag": ("a: !!python/object/apply:os.system [ls]\n", "1:4: tag `tag:yaml.org,2002:python"),
    "merge key": ("a: {b: c}\nd:\n  <<: {e: f}\n", "3:3: merge key `<<`"),
    "null as a tilde": ("a: ~\n", "1:4: `~` is null"),
    "null in words": ("a: null\n", "1:4: `null` is null"),
    "Null in words": ("a: [b, Null]\n", "1:8: `Null` is null"),
    "null as nothing": ("a:\nb: c\n", "1:3: `` is null"),
    "null in a list": ("a:\n  -\n  - b\n", "2:4: `` is null"),
    "null as a key": ("~: a\n", "1:1: `~` is null"),
    "duplicate key": ("a: b\nc: d\na: e\n", "3:1: duplicate key `a`"),
    "duplicate key in other quotes": ("a: b\n'a': e\n", "2:1: duplicate key `a`"),
    "second document": ("a: b\n---\nc: d\n", "2:1: a second document"),
    "second document after an end": ("a: b\n...\n---\nc: d\n", "3:1: a second document"),
    "YAML directive": ("%YAML 1.1\n---\na: b\n", "1:1: a YAML directive"),
    "TAG directive": ("%TAG ! tag:x,2000:\n---\na: b\n", "1:1: a YAML directive"),
    "key of a list": ("? [a, b]\n: c\n", "1:3: a list or mapping as a key"),
    "list at the top": ("- a\n", "1:1: expected a mapping at the top"),
    "text at the top": ("a\n", "1:1: expected a mapping at the top"),
    "nothing at all": ("# a comment\n", "1:1: expected a mapping at the top"),
    "empty": ("", "1:1: expected a mapping at the top"),
    "open quote": ("a: b\nname: 'x\nc: d\n", "2:7: is not YAML: a quote opens here and is closed nowhere"),
    "open double quote": ('a: "x\nb: c\n', "1:4: is not YAML: a quote opens here and is closed nowhere"),
    "open bracket": ("a: [b\n", "is not YAML"),
    "bad indentation": ("a: b\n   c: d\n", "is not YAML"),
    "not a character of YAML": ("a: \ufffe\n", "is not YAML"),
}


@pytest.mark.parametrize(("text", "expected"), [pytest.param(*row, id=name) for name, row in REFUSED.items()])
def test_yaml_is_refused(text: str, expected: str) -> None:
    value, (told, *more) = parsed(text)
    assert value is None
    assert not more
    assert f"x.yaml:{expected}" in told or ("is not YAML" in expected and expected in told)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "a: NO\nb: 1.10\nc: yes\nd: 0x10\ne: 2024-01-01\n",
            {"a": "NO", "b": "1.10", "c": "yes", "d": "0x10", "e": "2024-01-01"},
        ),
        ("NO: {1: [2, 3.0]}\n", {"NO": {"1": ["2", "3.0"]}}),
        ("a: '~'\nb: \"null\"\nc: ''\n", {"a": "~", "b": "null", "c": ""}),
        ("a: |\n  one\n  two\nb: >\n  three\n  four\n", {"a": "one\ntwo\n", "b": "three four\n"}),
        ("---\na: b\n...\n", {"a": "b"}),
        ("a: nullable\nb: null-1\n", {"a": "nullable", "b": "null-1"}),
        ("{}\n", {}),
    ],
)
def test_scalars_stay_text(text: str, expected: object) -> None:
    """No value is taken for a boolean, a number, a date or null that is not written as one."""
    assert (expected, []) == parsed(text)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a: " + "[" * 100_000, id="lists"),
        pytest.param("{a: " * 100_000, id="mappings"),
        pytest.param("\n".join(" " * depth + "a:" for depth in range(2_000)), id="blocks"),
        pytest.param("- " * 50_000, id="dashes"),
    ],
)
def test_nested_yaml_past_the_limit_is_refused(text: str) -> None:
    """Nesting is bounded by the reader, not by Python's stack."""
    _, (told,) = parsed(text)
    assert "is nested deeper than 16 levels" in told


def test_sixteen_levels_are_read() -> None:
    value, told = parsed("a: " + "[" * 15 + "b" + "]" * 15)
    assert not told
    assert str(value).count("[") == 15
