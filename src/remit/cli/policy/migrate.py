from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.progress import TextColumn

from remit.cli.common.as_json import JsonOption, print_json
from remit.cli.common.output import Exit, err, fail, out
from remit.cli.common.parsers import tenant_from
from remit.cli.common.policies_option import with_policies
from remit.cli.common.policy_files import read_snapshot
from remit.cli.common.progress import progress
from remit.core.names import Tenant, is_word
from remit.core.urls import masked
from remit.migrate.casbin.enforcer import FUNCTIONS, Enforcer, ModelError, SourceRow, lines_of
from remit.migrate.casbin.export import export as export_policy
from remit.migrate.casbin.reimport import import_export, is_ours
from remit.migrate.casbin.sql_table import TABLE, RuleTableError, rows_of, write_rows
from remit.migrate.casbin.translate import import_casbin
from remit.migrate.finding import NARROWABLE, FindingId, FindingSeverity
from remit.migrate.import_readme import protocol
from remit.migrate.kestra.translate import KestraFiles, KestraOptions, import_kestra
from remit.migrate.options import CasbinOptions, DomainReading, Imported, ObjectReading
from remit.migrate.output_folder import FolderError, check_folder, write_folder
from remit.policy.read.tree import VOCABULARY

_T = TypeVar("_T")
_COLOURS = {FindingSeverity.NOTE: "", FindingSeverity.WARNING: "yellow", FindingSeverity.REFUSED: "red"}


def _word(text: str) -> str:
    if not is_word(text):
        raise typer.BadParameter(f"`{text}` is not a kind: expected a letter, then letters, digits and `_`")
    return text


def _finding(text: str) -> FindingId:
    if text not in NARROWABLE:
        known = ", ".join(f"`{each}`" for each in sorted(NARROWABLE))
        raise typer.BadParameter(f"`{text}` cannot be accepted: expected one of {known}")
    return FindingId(text)


OutOption = Annotated[
    Path, typer.Option("--out", metavar="FOLDER", help="Write into this folder, which must not exist yet.")
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Replace a folder that is not empty; the old one is kept as `FOLDER~`.")
]
TenantOption = Annotated[
    Tenant | None,
    typer.Option(
        parser=tenant_from, metavar="NAME", help="The tenant to write, if the policy names none.", show_default=False
    ),
]
CasesOption = Annotated[int, typer.Option(min=1, max=20_000, help="The most questions kept as tests, for each tenant.")]


def casbin(
    model: Annotated[Path, typer.Option(metavar="FILE", help="The model, for example `model.conf`.")],
    policy: Annotated[
        str,
        typer.Option(
            metavar="FILE|URL", help="Its rows: a CSV file, `sqlite:///PATH` or `postgresql+psycopg://USER@HOST/DB`."
        ),
    ],
    out_folder: OutOption,
    tenant: TenantOption = None,
    domains: Annotated[
        DomainReading,
        typer.Option(
            help="What a domain becomes. `tenants`: each domain is a separate tenant, the safe reading. `namespaces`: each "
            "domain is a namespace of one tenant, and all share its roles and groups."
        ),
    ] = DomainReading.TENANTS,
    objects: Annotated[
        ObjectReading | None,
        typer.Option(
            help="What an object becomes. `kinds`: each object is a separate kind. `namespaces`: objects are paths and "
            "patterns of one kind; the default if the matcher has patterns of objects.",
            show_default=False,
        ),
    ] = None,
    kind: Annotated[
        str, typer.Option(parser=_word, metavar="KIND", help="The one kind, if objects are namespaces.")
    ] = "OBJECT",
    match: Annotated[
        list[str] | None,
        typer.Option(
            metavar="G=FUNCTION",
            help="The program registers this function for the names of role definition G: `g2=keyMatch2`, or `g2=none`.",
            show_default=False,
        ),
    ] = None,
    match_domains: Annotated[
        list[str] | None,
        typer.Option(
            metavar="G=FUNCTION", help="The same for its domains: `g=keyMatch`, or `g=none`.", show_default=False
        ),
    ] = None,
    person: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Others hold this name, but it also asks questions.", show_default=False),
    ] = None,
    object_: Annotated[
        list[str] | None,
        typer.Option("--object", metavar="NAME", help="An object that no row names.", show_default=False),
    ] = None,
    action: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="An action that no row names.", show_default=False)
    ] = None,
    accept: Annotated[
        list[FindingId] | None,
        typer.Option(
            parser=_finding, metavar="ID", help="Take the narrower reading of these findings.", show_default=False
        ),
    ] = None,
    vocabulary: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="For what `remit export` wrote: its `vocabulary.yaml`.", show_default=False),
    ] = None,
    reach: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|URL", help="For what `remit export` wrote: the rows of the reach plane.", show_default=False
        ),
    ] = None,
    table: Annotated[str, typer.Option(metavar="NAME", help="The table of rows in a database.")] = TABLE,
    cases: CasesOption = 5_000,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write policy files from a Casbin model and its rows, with Casbin's present answers as their tests.

    Prints everything that Casbin accepts silently, as file:line, severity and id (docs/how-to/casbin.md). The import
    refuses what it cannot translate faithfully, and then writes nothing.

    Example: `remit import casbin --model model.conf --policy policy.csv --tenant acme --out policies`
    """
    _check_out(out_folder, force=force)
    try:
        enforcer = Enforcer(_read(model).decode())
        ours = is_ours(enforcer)
    except (ModelError, UnicodeDecodeError) as error:
        fail(Exit.NO, f"{model}: {FindingSeverity.REFUSED} {FindingId.MODEL_UNREADABLE}: {error}")
    options = CasbinOptions(
        tenant=tenant,
        domains=domains,
        objects=objects,
        kind=kind,
        match=_functions("--match", match, enforcer.groups),
        match_domains=_functions("--match-domains", match_domains, enforcer.groups),
        persons=tuple(person or ()),
        objects_more=tuple(object_ or ()),
        actions_more=tuple(action or ()),
        accepted=frozenset(accept or ()),
        cases=cases,
    )
    if ours:
        if vocabulary is None:
            fail(
                Exit.USAGE,
                "this is remit's own model: name its `--vocabulary`, because rows do not say where a kind lives",
            )
        reach_rows = _rows(reach, f"{table}_reach") if reach else []
        imported = import_export(enforcer, _rows(policy, table), reach_rows, _read(vocabulary), options)
    else:
        if vocabulary is not None or reach is not None:
            fail(Exit.USAGE, "--vocabulary and --reach are for what `remit export` wrote, and this is another model")
        with progress(TextColumn("{task.description} {task.completed}")) as shown:

            def track(questions: Sequence[_T]) -> Iterable[_T]:
                return shown.track(questions, description="asking Casbin")

            imported = import_casbin(enforcer, str(model), _rows(policy, table), options, track)
    _finish(f"Casbin: {model.name} with {_named(policy)}", imported, out_folder, force=force, as_json=as_json)


def kestra(
    roles: Annotated[
        Path, typer.Option(metavar="FILE", help="The tenant's roles, as Kestra's API exports them: JSON.")
    ],
    bindings: Annotated[Path, typer.Option(metavar="FILE", help="Its bindings.")],
    edition: Annotated[
        int, typer.Option(min=1, max=2, help="The edition whose words the roles use: 1 (four verbs) or 2 (actions).")
    ],
    tenant: Annotated[Tenant, typer.Option(parser=tenant_from, metavar="NAME", help="The tenant to write.")],
    out_folder: OutOption,
    groups: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its groups with their members.", show_default=False)
    ] = None,
    users: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Users and service accounts: names for their ids.", show_default=False),
    ] = None,
    access: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Who has access to the tenant.", show_default=False)
    ] = None,
    keep_tenant_wide: Annotated[
        bool,
        typer.Option(
            "--keep-tenant-wide",
            help="A binding on a namespace grants users, groups, roles and the like in the whole tenant, as in Kestra.",
        ),
    ] = False,
    cases: CasesOption = 5_000,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write policy files from Kestra's roles and bindings, with what they grant as tests.

    Migrates roles of 1.x by Kestra's own table. Prints each trap in it, with severity and id (docs/how-to/casbin.md).

    Example: `remit import kestra --roles roles.json --bindings bindings.json --edition 2 --tenant acme --out policies`
    """
    _check_out(out_folder, force=force)
    documents = KestraFiles(
        (str(roles), _read(roles)),
        (str(bindings), _read(bindings)),
        (str(groups), _read(groups)) if groups else None,
        (str(users), _read(users)) if users else None,
        (str(access), _read(access)) if access else None,
    )
    imported = import_kestra(documents, KestraOptions(tenant, edition, keep_tenant_wide, cases))
    _finish(f"Kestra {edition}: {roles.name} with {bindings.name}", imported, out_folder, force=force, as_json=as_json)


@with_policies
def export(
    tenant: Annotated[Tenant, typer.Option(parser=tenant_from, metavar="NAME", help="The tenant to export.")],
    out_folder: OutOption,
    directory: Path,
    sql: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help=f"Write the rows to this database too: tables `{TABLE}` and `{TABLE}_reach`.",
            show_default=False,
        ),
    ] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write one tenant's policy as plain Casbin: models, rows, and a README with what Casbin cannot know.

    Casbin with `remit.casbin.register` gives the same decision for every question that passes remit's doors
    (docs/how-to/casbin.md).

    Example: `remit export policies --tenant acme --out casbin`
    """
    _check_out(out_folder, force=force)
    snapshot = read_snapshot(directory, tenant)
    if snapshot is None:
        fail(Exit.USAGE, f"no tenant `{tenant}` in `{directory}`")
    exported = export_policy(snapshot.policy, _read(directory / VOCABULARY))
    if sql is None:
        _write(out_folder, exported.files, force=force)
    else:
        try:
            write_rows(sql, exported.tables, force=force, then=lambda: _write(out_folder, exported.files, force=force))
        except RuleTableError as error:
            fail(Exit.NO, str(error))
    access, reach = (len(rows) for rows in exported.tables.values())
    if as_json:
        counts = {"access_rows": access, "reach_rows": reach}
        database = "" if sql is None else masked(sql)
        print_json({"tenant": tenant, **counts, "folder": out_folder, "files": sorted(exported.files), "sql": database})
        return
    where = f"{out_folder}" if sql is None else f"{out_folder} and {_named(sql)}"
    out.print(f"{tenant}: {access} rows of access and {reach} of reach written to {where}")


def _finish(origin: str, imported: Imported, folder: Path, *, force: bool, as_json: bool) -> None:
    files: Mapping[str, bytes] = {}
    if not imported.refused:
        files = {**imported.files, "README.md": protocol(origin, imported)}
        _write(folder, files, force=force)
    if as_json:
        counts = {"rows": imported.rows, "cases": imported.cases}
        print_json({**counts, "folder": folder, "files": sorted(files), "findings": imported.findings})
    else:
        for each in imported.findings:
            out.print(str(each), style=_COLOURS[each.severity])
    counted = {severity: sum(each.severity is severity for each in imported.findings) for severity in FindingSeverity}
    if imported.refused:
        fail(Exit.NO, f"{counted[FindingSeverity.REFUSED]} refused: nothing was written")
    if not as_json:
        out.print(
            f"{imported.rows} rows or records read, {counted[FindingSeverity.WARNING]} warnings, "
            f"{counted[FindingSeverity.NOTE]} notes; {imported.cases} answers kept as tests in {folder}",
            markup=False,
        )


def _check_out(folder: Path, *, force: bool) -> None:
    try:
        check_folder(folder, force=force)
    except FolderError as error:
        fail(Exit.USAGE, str(error))
    except OSError as error:
        fail(Exit.UNAVAILABLE, f"`{folder}` cannot be read: {error.strerror or error}")


def _write(folder: Path, files: Mapping[str, bytes], *, force: bool) -> None:
    try:
        previous = write_folder(folder, files, force=force)
    except FolderError as error:
        fail(Exit.USAGE, str(error))
    except OSError as error:
        fail(Exit.UNAVAILABLE, f"`{folder}` cannot be written: {error.strerror or error}")
    if previous is not None:
        err.print(f"the previous `{folder}` is now `{previous}`")


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        fail(Exit.UNAVAILABLE, f"`{file}` cannot be read: {error.strerror or error}")


def _rows(policy: str, table: str) -> list[SourceRow]:
    if "://" in policy:
        try:
            return rows_of(policy, table)
        except RuleTableError as error:
            fail(Exit.UNAVAILABLE, str(error))
    try:
        return lines_of(policy, _read(Path(policy)))
    except UnicodeDecodeError as error:
        fail(
            Exit.NO,
            f"{policy}: {FindingSeverity.REFUSED} {FindingId.ROW_UNREADABLE}: not UTF-8, so Casbin cannot load it: {error}",
        )


def _functions(option: str, named: Iterable[str] | None, groups: Iterable[str]) -> dict[str, str]:
    known = {*FUNCTIONS, "none"}
    found = {}
    for each in named or ():
        ptype, _, function = each.partition("=")
        if ptype not in groups or function not in known:
            expected = f"a role definition of the model, `=`, and one of {', '.join(sorted(known))}"
            fail(Exit.USAGE, f"{option} `{each}`: expected {expected}")
        found[ptype] = function
    return found


def _named(policy: str) -> str:
    """The name of a file, or the URL of a database without its password."""
    return masked(policy) if "://" in policy else Path(policy).name
