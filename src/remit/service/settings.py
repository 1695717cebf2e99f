"""Every setting of the server.

The module is long because it describes and bounds each setting at its definition.
"""

import secrets
import socket
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, PrivateAttr, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from remit.audit.chain.chain import READS
from remit.audit.chain.signing import AuditKeyError, PublicKey, SigningKey
from remit.audit.redaction import Redaction, RedactionKey, RedactionKeyError, hashes, parse_redaction
from remit.audit.retention.ages import Retention, parse_retention
from remit.audit.schema.engines import MOST_JOINED
from remit.core.addresses import is_loopback, split_address
from remit.core.names import TENANT_GRAMMAR, is_tenant
from remit.core.urls import masked
from remit.fleet.journal import ReleaseJournal
from remit.fleet.trust import Trust
from remit.policy.read.limits import Limits
from remit.service.callers import parse_auditors, parse_operators
from remit.service.errors import StartupError
from remit.service.gateways import parse_hosts, parse_principal_sources
from remit.service.settings_file import ENV_PREFIX

_DEFAULT_LIMITS: Final = Limits()
_NODE_LENGTH: Final = 64
_PAGE_SECRET: Final = 32


class Settings(BaseSettings):
    """Every setting of the server. A flag beats the environment, which beats the file, which beats the default.

    An unknown setting is an error in all three.
    """

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True)

    _page_secret: bytes = PrivateAttr(default_factory=lambda: secrets.token_bytes(_PAGE_SECRET))

    policies: Path = Field(
        Path("policies"),
        description="Policy directory. Named beside `policy_store`, it is the source of that store: the server publishes each "
        "good edit.",
    )
    strict: bool = Field(
        False,
        description="At the start, serve the files or nothing: do not fall back to a stored revision.",
    )
    watch: bool = Field(True, description="Reload policies when their files change.")
    settle_s: float = Field(
        0.2, gt=0, le=60, description="How long files must stay unchanged before they are read, in seconds."
    )
    watch_every_s: float = Field(
        30.0, ge=1, description="How often to poll for changes that the file system did not report, in seconds."
    )
    revisions: str = Field(
        "var/revisions",
        description="Directory of this node and its workers for the last good revisions of each tenant. Empty for "
        "none: then a restart does not fall back, and nothing can be pinned.",
    )
    revisions_kept: int = Field(10, ge=1, description="Revisions stored for each tenant; a pinned one is extra.")
    policy_store: str = Field(
        "",
        description="Policy store whose releases this node serves: `sqlite:///PATH` or "
        "`postgresql+psycopg://USER@HOST/DATABASE`. `remit publish` fills it, or with SQLite this server from `policies`.",
    )
    policy_keys: str = Field(
        "",
        description="PEM files of public keys, separated by commas. A release must be signed by one of them. Without "
        "keys, whoever can write to the policy store decides what serves.",
    )
    binding_key: Path | None = Field(
        None,
        description="PEM file of the private key with which this node signs what is granted and revoked at run time.",
    )
    binding_keys: str = Field(
        "",
        description="PEM files of public keys, separated by commas. What was granted at run time must be signed by one of them. "
        "Without keys, whoever can write to the policy store grants what `runtime` opens.",
    )
    releases: Path = Field(
        Path("var/releases"),
        description="Directory of this node and its workers for the last releases of `policy_store`. It starts from them "
        "when the store is away.",
    )
    policy_poll_s: float = Field(
        1.0,
        gt=0,
        le=3600,
        description="How often to look into `policy_store` without being told of news, give or take a fifth, in seconds.",
    )
    policy_max_age_s: float = Field(
        0.0,
        ge=0,
        description="Time without a look into `policy_store` after which the health service says NOT_SERVING, in seconds; 0 "
        "for never. Decisions go on.",
    )
    shadow: Path | None = Field(
        None,
        description="Policy directory of a candidate. A process of its own decides every question by it too; `remit "
        "shadow` shows the differences. It never answers.",
    )
    shadow_share: float = Field(
        0.25, gt=0, le=1, description="Share of one core that the candidate may use. Decisions beyond it are dropped."
    )
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes that answer calls on the one address. Each has its own node name (`NODE.w1`), its own "
        "chains and, with SQLite, its own audit file (`audit.w1.db`).",
    )
    node: str = Field(
        default_factory=socket.gethostname,
        pattern=r"^[!-~]{1,64}$",
        description="Name of this node in audit records: at most 64 printable ASCII characters without blanks, not "
        "ending in `/reads`.",
    )
    listen: str = Field(
        "127.0.0.1:9090",
        description="Address of the gRPC service, `HOST:PORT`; port 0 takes a free port. Any address but loopback "
        "needs the three `tls_*` settings, or `tls_cert`, `tls_key` and `identities`.",
    )
    http: str = Field(
        "127.0.0.1:9080",
        description="Address of the same API over HTTP (Connect in JSON and protobuf, gRPC-Web), `HOST:PORT`; port 0 "
        "takes a free port, empty for none. Any address but loopback needs the same files as `listen`.",
    )
    http_origins: str = Field(
        "",
        description="Origins of web pages that may call `http` from a browser, for example `https://app.example.com`, "
        "separated by commas. Pages of other origins are refused.",
    )
    authzen: bool = Field(False, description="Serve OpenID AuthZEN 1.0 at the address of `http`.")
    authzen_tenant: str = Field(
        "",
        description="Tenant that is asked at `/access/v1/...`, beside `/tenants/TENANT/access/v1/...`; empty for none.",
    )
    authzen_base_url: str = Field(
        "",
        description="The https URL under which callers reach `http`, for example `https://pdp.example.com`. With it, the "
        "server describes itself at `/.well-known/authzen-configuration`.",
    )
    authzen_page_key: Path | None = Field(
        None,
        description="File with a secret of at least 32 bytes, for the tokens of pages of AuthZEN searches. Nodes behind one "
        "address need the same one. Without it, each start makes one, and all workers have it.",
    )
    metrics: str = Field(
        "127.0.0.1:9464",
        description="Address of the Prometheus endpoint and the probes, `HOST:PORT`; empty for none. Any address but loopback needs "
        "mutual TLS.",
    )
    tls_cert: Path | None = Field(
        None,
        description="PEM file: the server's certificate chain. The three `tls_*` files are read again when they change.",
    )
    tls_key: Path | None = Field(None, description="PEM file: the private key of `tls_cert`.")
    tls_client_ca: Path | None = Field(
        None,
        description="PEM file: the authorities that sign callers' certificates. Callers without such a certificate "
        "are refused. Without this file each call needs a token, and `identities` says whose.",
    )
    identities: Path | None = Field(
        None,
        description="YAML file that maps credentials to callers, and names issuers of tokens, refused certificates and "
        "limits. It is read again when it changes.",
    )
    connection_max_age_s: float = Field(
        3600.0,
        ge=1,
        le=31_536_000,
        description="Age at which a connection ends, give or take a tenth, in seconds; calls in flight have `grace_s` "
        "more. Clients connect again by themselves.",
    )
    operators: str = Field(
        "",
        description="Callers that may pin and unpin revisions: principals, or the names in their certificates, "
        "separated by commas. Needs TLS. On loopback without TLS every caller may.",
    )
    auditors: str = Field(
        "",
        description="Callers that may read the audit: principals, or the names in their certificates, separated by "
        "commas; `NAME=TENANT` may read that tenant only. Needs TLS. On loopback without TLS every caller "
        "may read all.",
    )
    envoy: bool = Field(
        False,
        description="Answer the external authorization of Envoy too, on `listen`. Needs `envoy_principal`.",
    )
    envoy_principal: str = Field(
        "",
        description="What names the principal of a request in Envoy: the first that the request has, separated by "
        "commas. `KEY/CLAIM=user` or `=service`: a claim that `jwt_authn` verified and keeps under KEY; `certificate`: "
        "the client's certificate; `forwarded-certificate`: the header `x-forwarded-client-cert`, for an Envoy that "
        "sets it itself.",
    )
    envoy_hosts: str = Field(
        "",
        description="Tenants by the host of a request in Envoy, for example `api.acme.example=acme, *=globex`, for "
        "requests whose route does not say `remit.tenant`.",
    )
    threads: int = Field(
        64,
        ge=1,
        le=1024,
        description="Threads for calls that may wait or take long. Checks and short batches need none.",
    )
    max_calls: int = Field(
        256,
        ge=1,
        description="Calls in flight, waiting ones included. Further calls get RESOURCE_EXHAUSTED at once. Health "
        "and status are apart.",
    )
    message_timeout_s: float = Field(
        5.0,
        gt=0,
        description="Time for the message of a call to arrive, and for the next one of a stream, in seconds. Then "
        "DEADLINE_EXCEEDED.",
    )
    max_message_bytes: int = Field(
        8_388_608,
        ge=4096,
        description="Largest request, and largest graph in an answer, in bytes. Larger ones get RESOURCE_EXHAUSTED.",
    )
    batch_limit: int = Field(100, ge=1, le=10_000, description="Questions in a BatchCheck.")
    call_timeout_s: float = Field(
        10.0,
        gt=0,
        description="Longest wait of a call for its record, in seconds. A shorter deadline of the caller applies "
        "instead.",
    )
    revision_wait_s: float = Field(
        5.0, ge=0, description="Longest wait of a call for the `revision` or `at_least` it requires, in seconds."
    )
    grace_s: float = Field(
        10.0, ge=0, description="When the server stops: time for calls in flight to finish, in seconds."
    )
    audit: str = Field(
        "sqlite:///var/audit.db",
        description="Audit store: `sqlite:///PATH` or `postgresql+psycopg://USER@HOST/DATABASE`.",
    )
    audit_delivery: Literal["before_answer", "after_answer"] = Field(
        "before_answer",
        description="`before_answer`: an answer leaves after its record is committed. `after_answer`: after its "
        "record is queued; a crash loses records that are not committed.",
    )
    audit_timeout_s: float = Field(
        5.0,
        gt=0,
        description="Longest wait for a PostgreSQL server that writes records, or for another process that holds a "
        "SQLite file, in seconds. Then the store has failed.",
    )
    audit_spool: Path | None = Field(
        None,
        description="SQLite file where records wait while the audit store fails, private to this server; each worker "
        "has its own (`spool.w1.db`). Without a spool, decisions are then UNAVAILABLE.",
    )
    audit_spool_max_bytes: int = Field(
        1_073_741_824,
        ge=1_048_576,
        description="Largest size of the spool, in bytes. A full spool makes decisions UNAVAILABLE.",
    )
    audit_migrate: bool = Field(
        False, description="At the start, migrate an existing audit database to the newest schema."
    )
    audit_new: bool = Field(
        False,
        description="Create a new audit store or spool although this node used one before that is gone (its "
        "`revisions` says so). For one start.",
    )
    audit_key: Path | None = Field(
        None,
        description="PEM file: the Ed25519 private key that signs chain heads; `remit audit key new FILE` makes one. "
        "Without it chains are not signed.",
    )
    audit_checkpoint_s: float = Field(
        60.0, gt=0, description="How often the heads of chains that grew are signed, in seconds."
    )
    audit_queue: int = Field(10_000, ge=1, description="Audit records that may wait for their commit.")
    audit_wait_s: float = Field(
        1.0, ge=0, description="Longest wait of a call for room in a full audit queue, in seconds. Then UNAVAILABLE."
    )
    audit_max_bytes: int = Field(
        0,
        ge=0,
        description="Largest size of a SQLite audit file, in bytes; 0 for no limit. A full file makes decisions "
        "UNAVAILABLE.",
    )
    audit_low_space_bytes: int = Field(
        1_073_741_824, ge=0, description="The log warns when less disk space than this is free, in bytes."
    )
    audit_retention: str = Field(
        "",
        description="Age at which decisions and records of audit reads are deleted, for example `90d, globex=400d, "
        "initech=forever`: the age without a tenant is for all others. Empty: never.",
    )
    audit_retention_every_s: float = Field(
        3600.0, ge=1, description="How often older decisions are deleted, in seconds."
    )
    audit_redact: str = Field(
        "",
        description="Fields of decision records to hash or leave out, for example `on_behalf_of=drop, "
        "principal=hash, acme/principal=keep`. Possible fields: `caller`, `on_behalf_of`, `principal`, "
        "`resource_id` and `trace_id`.",
    )
    audit_redact_key: Path | None = Field(
        None, description="File with the key of those hashes: 32 bytes or more, the same on every node."
    )
    audit_sample_allows: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of the allows of plain checks that is recorded; the others are counted. Denies and all "
        "other questions are always recorded.",
    )
    audit_otlp: str = Field(
        "",
        description="URL of an OpenTelemetry collector for logs, for example `http://127.0.0.1:4318/v1/logs`. Each "
        "committed record is sent there too. Any address but loopback needs `https`. Empty for none.",
    )
    policy_max_rows: int = Field(_DEFAULT_LIMITS.rows, ge=1, description="Rows a tenant may have.")
    policy_max_bytes: int = Field(_DEFAULT_LIMITS.bytes, ge=1, description="Total bytes of a tenant's files.")
    policy_max_question_rows: int = Field(
        _DEFAULT_LIMITS.question_rows,
        ge=1,
        description="Rows of a tenant that one question may have to read. A thousand rows take about a millisecond.",
    )
    policy_max_cases: int = Field(_DEFAULT_LIMITS.cases, ge=0, description="Test cases a tenant may have.")
    policy_max_seconds: float = Field(
        _DEFAULT_LIMITS.seconds, gt=0, description="Processor time a tenant may take to load, in seconds."
    )
    policy_witness_rows: int = Field(
        _DEFAULT_LIMITS.witness_rows,
        ge=0,
        description="Casbin also runs the tests of tenants with at most this many rows.",
    )
    policy_lint: Literal["off", "error", "warning", "note"] = Field(
        "off",
        description="Lint findings of this severity and above refuse an edit of a tenant's folder, as failing tests "
        "do; `off`: none does.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest severity that is logged."
    )
    log_format: Literal["json", "console"] = Field("json", description="Format of log lines, on standard error.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del settings_cls, dotenv_settings, file_secret_settings
        return init_settings, env_settings

    @model_validator(mode="after")
    def _refuse_when_unsure(self) -> "Settings":
        self._refuse_half_of_tls()
        for name, parse in {"audit_retention": parse_retention, "audit_redact": parse_redaction}.items():
            if text := getattr(self, name):
                try:
                    parse(text)
                except ValueError as error:
                    raise ValueError(f"setting `{name}`: {error}") from None
        if self.audit_redact and hashes(parse_redaction(self.audit_redact)) and self.audit_redact_key is None:
            raise ValueError(
                "`audit_redact` hashes fields: name the file with the key of the hashes, `audit_redact_key`"
            )
        if self.audit_otlp:
            _refuse_endpoint(self.audit_otlp)
        _ = self.origins
        self._refuse_authzen()
        self._refuse_policy_store()
        parse_operators(self.operators)
        parse_auditors(self.auditors)
        parse_hosts(self.envoy_hosts)
        if self.envoy and not parse_principal_sources(self.envoy_principal):
            raise ValueError("`envoy` needs to know who sends a request: set `envoy_principal`")
        self._refuse_names_without_tls()
        self._refuse_node()
        self._refuse_addresses_without_tls()
        if self.workers > 1:
            self._refuse_for_workers()
        return self

    def _refuse_authzen(self) -> None:
        if self.authzen and not self.http:
            raise ValueError("`authzen` is served at `http`, which is empty: set an address, or leave `authzen` out")
        if self.authzen_tenant and not is_tenant(self.authzen_tenant):
            raise ValueError(f"`authzen_tenant` is `{self.authzen_tenant}`: expected {TENANT_GRAMMAR}")
        if self.authzen_base_url:
            url = urlsplit(self.authzen_base_url)
            if url.scheme != "https" or not url.hostname or url.query or url.fragment or url.username is not None:
                raise ValueError(
                    f"`authzen_base_url` is `{masked(self.authzen_base_url)}`: expected an https URL without credentials, `?` "
                    "and `#`"
                )

    def _refuse_policy_store(self) -> None:
        if self.publishes_directory:
            self._refuse_directory()
        if self.policy_store and not self.watch:
            raise ValueError("`watch` is off: without it a node would never serve a new release of `policy_store`")
        for name in ("policy_keys", "binding_key", "binding_keys", "policy_max_age_s"):
            if not self.policy_store and getattr(self, name):
                raise ValueError(f"`{name}` is about `policy_store`, which is empty: set it, or leave `{name}` out")

    def _refuse_directory(self) -> None:
        if not self.policy_store.startswith("sqlite"):
            raise ValueError(
                "`policies` is named beside a `policy_store` in PostgreSQL, where the directories of several nodes would undo "
                "each other's edits: leave `policies` out and publish it with `remit publish`, or take `sqlite:///PATH`"
            )
        for name in ("policy_keys", "binding_keys"):
            if getattr(self, name):
                raise ValueError(
                    f"`{name}` asks for signatures, and a server signs no release of its own `policies`: leave one of them out"
                )

    def _refuse_half_of_tls(self) -> None:
        needed = {"tls_cert": self.tls_cert, "tls_key": self.tls_key}
        # Without a token and without a certificate, nobody could call.
        if self.identities is None:
            needed["tls_client_ca"] = self.tls_client_ca
        missing = [name for name, path in needed.items() if path is None]
        if missing and (len(missing) < len(needed) or self.tls_client_ca is not None):
            raise ValueError(
                "mutual TLS needs all of `tls_cert`, `tls_key` and `tls_client_ca`, and TLS with tokens needs "
                f"`tls_cert`, `tls_key` and `identities`: set {_listed(missing)}"
            )

    def _refuse_names_without_tls(self) -> None:
        for name, may in {"operators": "pin and unpin revisions", "auditors": "read the audit"}.items():
            if self.tls is None and getattr(self, name).strip(", "):
                raise ValueError(
                    f"`{name}` names callers by their credentials, and without TLS every caller may {may}: "
                    f"set {_listed(self._missing_for_mutual_tls())}, or leave `{name}` out"
                )

    def _refuse_addresses_without_tls(self) -> None:
        for name, address in {"listen": self.listen, "http": self.http, "metrics": self.metrics}.items():
            served = self.mutual_tls if name == "metrics" else self.tls
            if (address or name == "listen") and not is_loopback(split_address(name, address)[0]) and served is None:
                raise ValueError(
                    f"`{name}` is `{address}`, which is not a loopback address, so it needs mutual TLS: "
                    f"set {_listed(self._missing_for_mutual_tls())}, or listen on `127.0.0.1`"
                )

    def _missing_for_mutual_tls(self) -> list[str]:
        tls = {"tls_cert": self.tls_cert, "tls_key": self.tls_key, "tls_client_ca": self.tls_client_ca}
        return [name for name, path in tls.items() if path is None]

    def _refuse_node(self) -> None:
        if self.node.endswith(READS):
            raise ValueError(f"`node` is `{self.node}`: expected a name that does not end with `{READS}`")

    def _refuse_for_workers(self) -> None:
        if self.shadow is not None:
            raise ValueError(
                "`shadow` works beside one worker and `workers` is more: leave one of them out; `remit replay` puts the "
                "records of all workers to a candidate"
            )
        if self.workers >= MOST_JOINED and self.audit.startswith("sqlite"):
            raise ValueError(
                f"`workers` is {self.workers}: SQLite reads the audit of at most {MOST_JOINED - 1} as one; take PostgreSQL "
                "for more"
            )
        longest = _NODE_LENGTH - len(worker_node("", self.workers))
        if len(self.node) > longest:
            raise ValueError(
                f"`node` is `{self.node}`: with `workers` at most {longest} characters, for each worker's name is longer"
            )

    @property
    def retention(self) -> Retention | None:
        """None if decisions are kept for ever."""
        return parse_retention(self.audit_retention) if self.audit_retention else None

    @property
    def redaction(self) -> Redaction | None:
        """None if records are kept unchanged. Raises StartupError if the key cannot be read."""
        if not self.audit_redact:
            return None
        try:
            key = RedactionKey.read(self.audit_redact_key) if self.audit_redact_key is not None else None
        except RedactionKeyError as error:
            raise StartupError(f"setting `audit_redact_key`: {error}") from None
        return Redaction(parse_redaction(self.audit_redact), key)

    @property
    def limits(self) -> Limits:
        return Limits(
            rows=self.policy_max_rows,
            bytes=self.policy_max_bytes,
            question_rows=self.policy_max_question_rows,
            cases=self.policy_max_cases,
            seconds=self.policy_max_seconds,
            witness_rows=self.policy_witness_rows,
        )

    @property
    def journal(self) -> ReleaseJournal | None:
        """Where the releases of `policy_store` are on disk; None without it."""
        return ReleaseJournal(self.releases) if self.policy_store else None

    @property
    def publishes_directory(self) -> bool:
        """Whether `policies` is the source of `policy_store`."""
        return bool(self.policy_store) and "policies" in self.model_fields_set

    @property
    def policy_directory(self) -> Path:
        """The directory that is read: `policies`, or that of the current release."""
        journal = self.journal
        return self.policies if journal is None else journal.policies

    @property
    def trust(self) -> Trust:
        """Whose signatures `policy_keys` and `binding_keys` ask for. Raises StartupError."""
        return Trust(*(self._public_keys(name) for name in ("policy_keys", "binding_keys")))

    def _public_keys(self, name: str) -> list[PublicKey]:
        try:
            return [PublicKey.read(Path(each)) for each in map(str.strip, getattr(self, name).split(",")) if each]
        except AuditKeyError as error:
            raise StartupError(f"setting `{name}`: {error}") from None

    @property
    def signing_key(self) -> SigningKey | None:
        """The key of `binding_key`. Raises StartupError."""
        try:
            key = None if self.binding_key is None else SigningKey.read(self.binding_key)
        except AuditKeyError as error:
            raise StartupError(f"setting `binding_key`: {error}") from None
        if key is not None and self.binding_keys and key.public not in self.trust.bindings:
            raise StartupError(
                "setting `binding_key`: its public half is not in `binding_keys`, so no node would take over what it signs"
            )
        return key

    @property
    def page_secret(self) -> bytes:
        """The secret of `authzen_page_key`, or one of this start. Raises StartupError."""
        if self.authzen_page_key is None:
            return self._page_secret
        try:
            secret = self.authzen_page_key.read_bytes()
        except OSError as error:
            raise StartupError(f"setting `authzen_page_key`: `{self.authzen_page_key}`: {error.strerror}") from None
        if len(secret) < _PAGE_SECRET:
            raise StartupError(
                f"setting `authzen_page_key`: `{self.authzen_page_key}` has {len(secret)} bytes: expected at least "
                f"{_PAGE_SECRET}"
            )
        return secret

    @property
    def origins(self) -> list[str]:
        """The origins that `http_origins` names. Raises ValueError."""
        return [_origin(each) for each in map(str.strip, self.http_origins.split(",")) if each]

    @property
    def tls(self) -> tuple[Path, Path] | None:
        """The server's certificate and key. With them, every caller has a name."""
        return None if self.tls_cert is None or self.tls_key is None else (self.tls_cert, self.tls_key)

    @property
    def mutual_tls(self) -> tuple[Path, Path, Path] | None:
        """Certificate, key and the authorities of callers' certificates; None if callers need no certificate."""
        return None if self.tls is None or self.tls_client_ca is None else (*self.tls, self.tls_client_ca)


def settings_table() -> str:
    """The table of docs/reference/settings.md."""
    rows = ["| setting | environment | default | meaning |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        rows.append(f"| `{name}` | `{ENV_PREFIX}{name.upper()}` | {default_told(field)} | {field.description} |")
    return "\n".join(rows)


def worker_node(node: str, number: int) -> str:
    """The name of worker `number` of a node in audit records."""
    return f"{node}.w{number}"


def _refuse_endpoint(text: str) -> None:
    try:
        url = urlsplit(text)
        host, _ = url.hostname, url.port
    except ValueError:
        host = None
    if not host or url.scheme not in {"http", "https"}:
        raise ValueError(f"`audit_otlp` is `{masked(text)}`: expected a URL such as `http://127.0.0.1:4318/v1/logs`")
    if url.scheme == "http" and not is_loopback(host):
        raise ValueError(
            f"`audit_otlp` is `{masked(text)}`, where records would go over the network in the clear: use `https`, or a collector "
            "on `127.0.0.1`"
        )


def default_told(field: FieldInfo) -> str:
    """The default of a setting, as docs/reference/settings.md and the help show it."""
    if field.default_factory is not None:
        return "the host's name"
    match field.default:
        case None | "":
            return "none"
        case bool() as value:
            return f"`{str(value).lower()}`"
        case value:
            return f"`{value}`"


def _origin(text: str) -> str:
    """Raises ValueError if the text is no origin as browsers send it."""
    try:
        url = urlsplit(text)
        host, _ = url.hostname, url.port
    except ValueError:
        host = None
    if (
        not host
        or text != f"{url.scheme}://{url.netloc}"
        or url.scheme not in {"http", "https"}
        or text != text.lower()
    ):
        raise ValueError(
            f"`http_origins` names `{text}`: expected an origin as browsers send it, such as "
            "`https://app.example.com` or `http://127.0.0.1:3000`"
        )
    return text


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
