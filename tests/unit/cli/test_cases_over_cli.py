"""The stories of tests/cases once more, each question asked on the command line, of the files themselves."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from test_cases import Face, edges_of, nodes_of, opens, seen, seen_both_ways, test_case
from typer.testing import CliRunner

from remit import wire
from remit.cli.main import app
from remit.policy.load import load_tree
from remit.v1 import decision_pb2

__all__ = ["test_case"]


class CliFace:
    """Commands over policy directories: for a tenant that does not load, over a copy of the last in which it did."""

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

    def access(self, principal: str, action: str, kind: str, namespace: str, tenant: str) -> Sequence[str]:
        return self._told(_decision, "explain", tenant, principal, action, kind, namespace)

    def reach(self, caller: str, owner: str, relation: str, tenant: str) -> Sequence[str]:
        return self._told(_decision, "reach", tenant, caller, owner, relation)

    def reach_all(self, caller: str, relation: str, owners: Sequence[str], tenant: str) -> Sequence[str]:
        file = self._copies / "owners.txt"
        file.write_text("".join(f"{owner}\n" for owner in owners))

        def told(answer: Any) -> Sequence[str]:
            return [*_decision(answer)[:2], *(each["owner"] for each in answer["refused"])]

        return self._told(told, "reach-all", tenant, caller, relation, str(file))

    def reachable(self, namespace: str, relation: str, tenant: str) -> Sequence[str]:
        def told(answer: Any) -> Sequence[str]:
            found = [each for each in answer["relations"] if each["relation"] == relation]
            return [told for each in found for told in opens(_sets(each["uses"]), _sets(each["used_by"]))]

        return self._told(told, "reach", tenant, namespace)

    def operations(self, principal: str, operation: str, namespace: str, tenant: str) -> Sequence[str]:
        def told(answer: Any) -> Sequence[str]:
            return [answer["effect"], *(part["reason"] for part in answer["parts"])]

        return self._told(told, "operation", tenant, principal, operation, namespace)

    def dedicated(self, namespace: str, resource_type: str, service: str, tenant: str) -> Sequence[str]:
        def told(answer: Any) -> Sequence[str]:
            if answer["reason"]:
                return [answer["reason"]]
            (found,) = answer["resources"]
            return [found["name"], found["level_namespace"] or found["level"], found["service"]]

        options = ("--resource", resource_type, "--service", service)
        return self._told(told, "resolve", tenant, namespace, *options)

    def served(self, resource_type: str, name: str, tenant: str) -> Sequence[str]:
        def told(answer: Any) -> Sequence[str]:
            whole = ["tenant"] if answer["serves_tenant"] else []
            opened = (f"open to {each}" for each in answer["tenants"])
            return [*_sets(answer["namespaces"]), *whole, *opened]

        return self._told(told, "served", tenant, f"{resource_type}/{name}")

    def who(self, action: str, kind: str, namespace: str, tenant: str) -> Sequence[str]:
        def told(answer: Any) -> Sequence[str]:
            return [each["principal"] for each in answer["principals"]]

        return self._told(told, "who", tenant, action, kind, namespace)

    def where(self, principal: str, action: str, kind: str, tenant: str) -> Sequence[str]:
        return self._told(lambda answer: _sets(answer["sets"]), "where", tenant, principal, action or "*", kind or "*")

    def what(self, principal: str, namespace: str, tenant: str) -> Sequence[str]:
        def told(answer: Any) -> Sequence[str]:
            return [f"{one['kind']} {each}" for one in answer["kinds"] for each in one["actions"]]

        return self._told(told, "what", tenant, principal, namespace)

    def visible(
        self, principal: str, action: str, nodes: Mapping[str, str], edges: Sequence[str], tenant: str
    ) -> Sequence[str]:
        graph = {
            "nodes": [dict(zip(("uid", "kind", "namespace", "id"), each, strict=True)) for each in nodes_of(nodes)],
            "edges": [dict(zip(("source", "target", "relation"), each, strict=True)) for each in edges_of(edges)],
        }
        file = self._copies / "graph.json"
        file.write_text(json.dumps(graph))

        def told(answer: Any) -> Sequence[str]:
            if answer["reason"]:
                return [answer["reason"]]
            drawn = ((each["source"], each["target"], each["relation"], each["reach"]) for each in answer["edges"])
            return seen((node["uid"] for node in answer["nodes"]), drawn)

        command = ("graph", tenant, principal, str(file), "--action", action)
        return seen_both_ways(lambda omit: self._told(told, *command, *(["--omit"] if omit else [])))

    def _told(self, told: Callable[[Any], Sequence[str]], *command: str) -> Sequence[str]:
        code, answer, error = self._run(*command)
        if code == 2:
            return ["malformed", error.removeprefix("INVALID_ARGUMENT: ").removeprefix("question.").partition(":")[0]]
        if code == 3:
            return ["too large" if "beyond the limit of a list" in error else "unavailable"]
        if "effect" in answer:
            assert (code == 0) == (answer["effect"] == "allow")
        return told(answer)

    def _run(self, *command: str) -> tuple[int, Any, str]:
        done = CliRunner().invoke(app, [*command, *self._place(command[1]), "--json"])
        return done.exit_code, json.loads(done.stdout) if done.stdout else None, done.stderr

    def _place(self, tenant: str) -> Sequence[str]:
        """The options that say where to ask about a tenant."""
        return ("--policies", str(self._good.get(tenant, self._newest)))


def _decision(answer: Any) -> Sequence[str]:
    row = answer.get("rule")
    return [answer["effect"], answer["reason"], f"{row['file']}:{row['line']}" if row else ""]


def _sets(sets: Sequence[Any]) -> Sequence[str]:
    messages = (decision_pb2.NamespaceSet(only=each["only"], excluded=each["excluded"]) for each in sets)
    return [str(wire.set_from(each)) for each in messages]


@pytest.fixture
def face(tmp_path_factory: pytest.TempPathFactory) -> Face:
    return CliFace(tmp_path_factory.mktemp("copies"))
