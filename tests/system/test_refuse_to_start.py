"""Where anything is unsure the server does not start: exit code 3, and what to write where."""

import re
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from support.audit_records import decision
from support.server import Server, remit_process, until

from remit.audit.chain.signing import SigningKey
from remit.audit.schema.migrate import upgrade
from remit.audit.spool.spool import Spool
from remit.audit.store.shards import worker_url
from remit.audit.store.store import AuditStore

REFUSED = 3
NODES = ["node-1.w1", "node-1.w2", "node-1.w3"]


def serve(tmp_path: Path, policies: Path, *flags: str, **extra: str) -> str:
    """What a server says that does not start."""
    named = ("--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--audit", f"sqlite:///{tmp_path / 'audit.db'}")
    named += ("--revisions", str(tmp_path / "revisions"))
    refused = remit_process("serve", *named, "--policies", str(policies), *flags, **extra)
    assert REFUSED == refused.returncode, refused.stderr
    assert "" == refused.stdout
    assert "Traceback" not in refused.stderr
    assert "serving" not in refused.stderr
    return refused.stderr


def test_start_refuses_root_files_that_do_not_load(tmp_path: Path, policies: Path) -> None:
    """Every diagnostic is shown, with file, line and column."""
    with (policies / "roles.csv").open("a") as file:
        file.write("p, role:viewer, acme, **, FLOW, VIEW, allow\np, role:viewer, *, **, FLOWW, VIEW, allow\n")
    lines = len((policies / "roles.csv").read_text().splitlines())
    told = serve(tmp_path, policies)
    assert f"roles.csv:{lines - 1}:17: " in told
    assert f"roles.csv:{lines}:24: unknown kind `FLOWW`" in told
    assert "did you mean `FLOW`" in told
    assert not (tmp_path / "audit.db").exists()
    assert not (tmp_path / "revisions").exists()


def test_a_policy_directory_that_is_not_there(tmp_path: Path) -> None:
    """And nothing is made beside it."""
    assert f"`{tmp_path / 'nowhere'}`" in serve(tmp_path, tmp_path / "nowhere")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("url", ["mysql://db/audit", "sqlite://", "nonsense"])
def test_audit_url_is_judged_before_the_policies_load(tmp_path: Path, untested: Path, url: str) -> None:
    told = serve(tmp_path, untested, "--audit", url)
    assert "expected `sqlite:///PATH`" in told
    assert "tenant loaded" not in told
    assert not list(tmp_path.iterdir())


def test_audit_store_that_cannot_be_reached_is_named(tmp_path: Path, untested: Path) -> None:
    (tmp_path / "file").touch()
    url = f"sqlite:///{tmp_path / 'file' / 'audit.db'}"
    told = serve(tmp_path, untested, "--audit", url)
    assert f"remit does not start: cannot migrate the audit database `{url}`: `{tmp_path}/file`: " in told
    assert "Errno" not in told


def test_an_unknown_setting_in_the_environment(tmp_path: Path, untested: Path) -> None:
    told = serve(tmp_path, untested, REMIT_LISTENN="127.0.0.1:1", REMIT_XYZZY="1")
    listed = "in the environment: docs/reference/settings.md lists all"
    assert f"unknown setting `REMIT_LISTENN` {listed}; did you mean `REMIT_LISTEN`?\n" in told
    assert f"unknown setting `REMIT_XYZZY` {listed}\n" in told


# What Kubernetes puts into each pod of a namespace with a Service `remit` of two ports, and a Service `remit-db`.
SERVICE_LINKS = {
    "REMIT_SERVICE_HOST": "10.96.0.7",
    "REMIT_SERVICE_PORT": "9090",
    "REMIT_SERVICE_PORT_GRPC_API": "9090",
    "REMIT_SERVICE_PORT_METRICS": "9464",
    "REMIT_PORT": "tcp://10.96.0.7:9090",
    "REMIT_PORT_9090_TCP": "tcp://10.96.0.7:9090",
    "REMIT_PORT_9090_TCP_PROTO": "tcp",
    "REMIT_PORT_9090_TCP_PORT": "9090",
    "REMIT_PORT_9090_TCP_ADDR": "10.96.0.7",
    "REMIT_PORT_9464_TCP": "tcp://10.96.0.7:9464",
    "REMIT_DB_SERVICE_HOST": "fd00::7",
    "REMIT_DB_SERVICE_PORT": "5432",
    "REMIT_DB_PORT": "tcp://[fd00::7]:5432",
    "REMIT_DB_PORT_5432_TCP": "tcp://[fd00::7]:5432",
}


def test_kubernetes_variables_are_not_settings(tmp_path: Path, untested: Path) -> None:
    with Server(tmp_path, policies=untested, extra=SERVICE_LINKS) as server, server.client() as client:
        assert client.tenant("acme").guard("user:bob", "VIEW", "FLOW", "acme.finance").allowed


@pytest.mark.parametrize(
    ("links", "name", "value"),
    [
        ({}, "REMIT_PORT", "9090"),
        ({}, "REMIT_SERVICE_PORT", "9090"),
        ({}, "REMIT_LISTEN_SERVICE_HOST", "10.96.0.7"),
        (SERVICE_LINKS, "REMIT_PORT", "9090"),
        (SERVICE_LINKS, "REMIT_SERVICE_PORT_GRPC", "yes"),
        (SERVICE_LINKS, "REMIT_PORT_9090", "1"),
        (SERVICE_LINKS, "REMIT_LISTEN_PORT", "9090"),
    ],
)
def test_variable_that_only_resembles_kubernetes_is_refused(
    tmp_path: Path, untested: Path, links: dict[str, str], name: str, value: str
) -> None:
    told = serve(tmp_path, untested, **{**links, name: value})
    assert [name] == re.findall(r"unknown setting `(\w+)`", told)


@pytest.mark.parametrize(
    ("flag", "may"), [("--operators", "pin and unpin revisions"), ("--auditors", "read the audit")]
)
def test_start_refuses_caller_names_without_mutual_tls(tmp_path: Path, untested: Path, flag: str, may: str) -> None:
    """Without certificates callers have no names, and the setting would refuse nobody."""
    told = serve(tmp_path, untested, flag, "spiffe://acme.example/oncall")
    assert f"without TLS every caller may {may}: set `tls_cert`, `tls_key`, `tls_client_ca`, or leave" in told


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read: No such file or directory"),
        ("no key", "holds no private key in PEM: make one with `remit audit key new FILE`"),
        ("public", "holds no private key in PEM"),
    ],
)
def test_start_refuses_a_file_that_is_no_audit_key(
    tmp_path: Path, untested: Path, content: str | None, told: str
) -> None:
    file = tmp_path / "audit.pem"
    if content is not None:
        file.write_bytes(SigningKey.new(tmp_path / "other").public.pem if content == "public" else content.encode())
    refused = serve(tmp_path, untested, "--audit-key", str(file))
    assert "setting `audit_key`: " in refused
    assert told in refused
    assert f"`{file}`" in refused
    assert not (tmp_path / "audit.db").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            'treads = 8\nlog_level = "info"\n',
            "unknown setting `treads`: docs/reference/settings.md lists all; did you mean `threads`?",
        ),
        ("threads = 0\n", "setting `threads` is `0`"),
        ("threads 8\n", "is not TOML"),
    ],
)
def test_start_refuses_a_malformed_settings_file(tmp_path: Path, untested: Path, text: str, told: str) -> None:
    file = tmp_path / "remit.toml"
    file.write_text(text)
    assert told in serve(tmp_path, untested, REMIT_CONFIG=str(file))


def test_an_unknown_flag(tmp_path: Path) -> None:
    """Wrong usage, so the exit code is that of usage."""
    refused = remit_process("serve", "--treads", "8")
    assert 2 == refused.returncode
    assert "--treads" in refused.stderr


def of_an_older_schema(url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        upgrade(connection, "0001")
    engine.dispose()


def test_a_database_of_an_older_schema(tmp_path: Path, untested: Path) -> None:
    """It says what to do; and done, the server starts."""
    of_an_older_schema(f"sqlite:///{tmp_path / 'audit.db'}")
    assert "start `remit serve` once with `--audit-migrate`" in serve(tmp_path, untested)
    with Server(tmp_path, "--audit-migrate", policies=untested) as server, server.client() as client:
        assert client.tenant("acme").guard("user:bob", "VIEW", "FLOW", "acme.finance").allowed


def test_a_database_of_a_newer_schema(tmp_path: Path, untested: Path) -> None:
    with AuditStore(f"sqlite:///{tmp_path / 'audit.db'}") as store:
        store.migrate()
    with closing(sqlite3.connect(tmp_path / "audit.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert "use the remit that wrote it" in serve(tmp_path, untested)


def test_start_refuses_a_file_that_is_no_database(tmp_path: Path, untested: Path) -> None:
    (tmp_path / "audit.db").write_bytes(b"no database at all" * 100)
    assert "not a database" in serve(tmp_path, untested)


def test_a_port_that_is_taken(tmp_path: Path, untested: Path) -> None:
    """By a first server: two on one port would share its calls. The first is not disturbed."""
    with Server(tmp_path / "first", policies=untested) as first, first.client() as client:
        told = serve(tmp_path, untested, "--listen", first.target)
        assert f"cannot listen on `{first.target}`: Address already in use: set `listen` to another address" in told
        told = serve(tmp_path, untested, "--metrics", f"127.0.0.1:{first.metrics_port}")
        assert (
            f"cannot serve metrics on `127.0.0.1:{first.metrics_port}`: Address already in use: set `metrics`" in told
        )
        # It may have been the same server, started twice: then its node would be said to have stopped.
        assert not (tmp_path / "audit.db").exists()
        assert client.tenant("acme").guard("user:bob", "VIEW", "FLOW", "acme.finance").allowed


@pytest.mark.parametrize("workers", [(), ("--workers", "2")])
@pytest.mark.parametrize("host", ["::1", "127.0.0.1"])
@pytest.mark.parametrize("setting", ["--listen", "--metrics"])
def test_start_refuses_a_host_name_with_one_taken_address(
    tmp_path: Path, untested: Path, setting: str, host: str, workers: tuple[str, ...]
) -> None:
    """A process that listens there would answer clients that try this address first."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as other:
        other.bind((host, 0))
        other.listen()
        port = other.getsockname()[1]
        shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        told = serve(tmp_path, untested, setting, f"localhost:{port}", *workers)
    assert f" on `localhost:{port}`: Address already in use (`{shown}`): set `" in told
    assert not (tmp_path / "audit.db").exists()


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--workers", "0"), "setting `workers` is `0`"),
        (("--workers", "two"), "setting `workers` is `two`"),
        (("--workers", "11"), "SQLite reads the audit of at most 10 as one"),
        (("--workers", "2", "--shadow", "candidate"), "`shadow` works beside one worker"),
        (("--node", "n/reads"), "`node` is `n/reads`: expected a name that does not end with `/reads`"),
        (("--workers", "10", "--node", "n" * 61), f"`node` is `{'n' * 61}`: with `workers` at most 60 characters"),
        (("--workers", "2", "--audit", "sqlite://"), "expected `sqlite:///PATH`"),
        (("--workers", "2", "--policies", "/nowhere"), "`/nowhere`"),
        (("--workers", "2", "--listen", "192.0.2.1:9090"), "needs mutual TLS"),
    ],
)
def test_start_refuses_settings_that_workers_cannot_have(
    tmp_path: Path, untested: Path, flags: tuple[str, ...], told: str
) -> None:
    assert told in serve(tmp_path, untested, *flags)


def test_workers_refuse_the_start_like_one_server(tmp_path: Path, policies: Path) -> None:
    """Every worker finds the same; it is said once, and none is left."""
    with (policies / "roles.csv").open("a") as file:
        file.write("p, role:viewer, *, **, FLOWW, VIEW, allow\n")
    alone = serve(tmp_path, policies)
    told = serve(tmp_path, policies, "--workers", "3")
    assert alone == "\n".join(line for line in told.splitlines() if not line.startswith("{")) + "\n"


def test_a_worker_s_database_of_an_older_schema(tmp_path: Path, untested: Path) -> None:
    """It is named; `--audit-migrate` migrates every file of the audit, also those of workers that are no more."""
    url = f"sqlite:///{tmp_path / 'audit.db'}"
    for number in (2, 7):
        of_an_older_schema(worker_url(url, number))
    assert "audit.w2.db" in serve(tmp_path, untested, "--node", "node-1", "--workers", "3")
    migrating = ("--audit-migrate", "--node", "node-1", "--workers", "3")
    with Server(tmp_path, *migrating, policies=untested) as server, server.store() as store:
        assert ["w1", "w2", "w3", "w7"] == [each.url.split(".")[-2] for each in store.members]
        assert NODES == sorted({each.node for each in store.lifecycle(type_="SERVER_STARTED")})


def test_spool_of_a_removed_worker_refuses_the_start(tmp_path: Path, untested: Path) -> None:
    """Started with as many workers as it takes, they hand its records on."""
    spool = Spool(tmp_path / "spool.w2.db", max_bytes=1 << 20).open()
    spool.put([record := decision()])
    spool.close()
    flags = ("--audit-spool", str(tmp_path / "spool.db"))
    told = serve(tmp_path, untested, *flags)
    assert f"1 audit records wait in the spool `{tmp_path / 'spool.w2.db'}`" in told
    assert "start once with 2" in told
    with Server(tmp_path, *flags, "--workers", "2", policies=untested) as server:
        with AuditStore(worker_url(server.audit, 2)).open() as store:
            until(lambda: [record] == store.decisions(), "its record in the store")
        assert 0 == server.terminate()
    with Server(tmp_path, *flags, policies=untested) as server, server.store() as stores:
        assert [record] == stores.decisions()


def test_a_port_that_workers_share_is_taken(tmp_path: Path, untested: Path) -> None:
    """For a server of one and for another's workers; and a server of one keeps workers away."""
    with Server(tmp_path / "first", "--workers", "2", policies=untested) as first:
        for flags in ((), ("--workers", "2")):
            told = serve(tmp_path, untested, "--listen", first.target, *flags)
            assert f"cannot listen on `{first.target}`" in told
        told = serve(tmp_path, untested, "--workers", "2", "--metrics", f"127.0.0.1:{first.metrics_port}")
        assert f"cannot serve metrics on `127.0.0.1:{first.metrics_port}`" in told
    with Server(tmp_path / "second", policies=untested) as second:
        assert f"cannot listen on `{second.target}`" in serve(
            tmp_path, untested, "--workers", "2", "--listen", second.target
        )
