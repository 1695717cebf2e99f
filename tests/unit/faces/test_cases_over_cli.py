"""The stories of tests/cases once more, each question asked on the command line, of the files themselves."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from test_cases import Answer, Face, test_case
from typer.testing import CliRunner

from remit import wire
from remit.faces.cli.main import app
from remit.policy.load import load_tree
from remit.v1 import decision_pb2

__all__ = ["test_case"]


class CliFace:
    """Commands over policy directories: for a tenant that does not load, over a copy of the last in which it did."""

    names_rules = True

    def __init__(self, copies: Path) -> None:
        self._copies = copies
        self._newest = copies
        self._good: dict[str, Path] = {}

    def load(self, directory: Path) -> Mapping[str, str]:
        loaded = load_tree(directory).tenants
        self._newest = Path(shutil.copytree(directory, self._copies / directory.name))
        self._good = {
            name: self._newest if each.snapshot else self._good.get(name, self._newest) for name, each in loaded.items()
        }
        return {name: "\n".join(map(str, each.diagnostics)) for name, each in loaded.items() if not each.snapshot}

    def check(self, principal: str, action: str, kind: str, namespace: str, tenant: str) -> Answer:
        return self._answer("explain", tenant, principal, action, kind, namespace)

    def check_reach(self, caller: str, owner: str, relation: str, tenant: str) -> Answer:
        return self._answer("reach", tenant, caller, owner, relation)

    def who(self, action: str, kind: str, namespace: str, tenant: str) -> list[str]:
        return self._list(
            lambda told: [each["principal"] for each in told.get("principals", [])],
            *("who", tenant, action, kind, namespace),
        )

    def where(self, principal: str, action: str, kind: str, tenant: str) -> list[str]:
        return self._list(
            lambda told: [
                str(wire.set_from(decision_pb2.NamespaceSet(only=each["only"], excluded=each.get("excluded", []))))
                for each in told.get("sets", [])
            ],
            *("where", tenant, principal, action or "*", kind or "*"),
        )

    def what(self, principal: str, namespace: str, tenant: str) -> list[str]:
        return self._list(
            lambda told: [f"{one['kind']} {each}" for one in told.get("kinds", []) for each in one["actions"]],
            *("what", tenant, principal, namespace),
        )

    def _answer(self, *command: str) -> Answer:
        code, told, error = self._run(*command)
        if code == 2:
            return Answer("malformed", error.partition(":")[0])
        if code == 3:
            return Answer("unavailable")
        decision = told["decision"]
        assert (code == 0) == (decision["effect"] == "EFFECT_ALLOW")
        row = told.get("rule", {}).get("row")
        effect = decision["effect"].removeprefix("EFFECT_").lower()
        return Answer(effect, decision["reason"].removeprefix("REASON_"), f"{row['file']}:{row['line']}" if row else "")

    def _list(self, told: Callable[[Any], list[str]], *command: str) -> list[str]:
        code, answer, error = self._run(*command)
        if code == 2:
            return ["malformed", error.partition(":")[0]]
        if code == 3:
            return ["too large" if "past what can be listed" in error else "unavailable"]
        return told(answer)

    def _run(self, *command: str) -> tuple[int, Any, str]:
        policies = self._good.get(command[1], self._newest)
        done = CliRunner().invoke(app, [*command, "--policies", str(policies), "--json"])
        return done.exit_code, json.loads(done.stdout) if done.stdout else None, done.stderr


@pytest.fixture
def face(tmp_path_factory: pytest.TempPathFactory) -> Face:
    return CliFace(tmp_path_factory.mktemp("copies"))
