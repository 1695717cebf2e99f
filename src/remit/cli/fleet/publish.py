import getpass
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from remit.audit.chain.signing import AuditKeyError, SigningKey
from remit.cli.common.as_json import JsonOption, print_json
from remit.cli.common.output import Exit, err, fail, out
from remit.cli.common.policy_files import loading
from remit.cli.fleet.store_option import ToOption, opened
from remit.cli.policy import diff_text
from remit.cli.policy.compared import Compared, FailOn, compare_tenants, is_wrong, print_compared
from remit.cli.policy.diff_sources import Version
from remit.core.diagnostics import PolicyError
from remit.fleet.errors import PublishRefusedError
from remit.fleet.release import DIRECTORY, Release, SignedRelease
from remit.fleet.review import reviewer
from remit.fleet.store import Draft, PolicyStore
from remit.policy.lint.finding import LintSeverity
from remit.policy.lint.linter import tenant_findings
from remit.policy.load import DEFAULT_LIMITS, EMPTY_ROOT, LoadedTenant, load_root, load_tenant
from remit.policy.read.git import DIRTY, GitError, Repository, commit_of
from remit.policy.read.tree import Folder, Tree, read_tree

_COMMIT_SHOWN = 12


def publish(
    directory: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="The policy directory to publish.", show_default=False)
    ] = None,
    to: ToOption = None,
    key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Sign with this key, which `remit audit key new` made.", show_default=False),
    ] = None,
    again: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="RELEASE", help="Publish the files of this earlier release: a rollback.", show_default=False
        ),
    ] = None,
    message: Annotated[
        str, typer.Option("--message", "-m", metavar="WHY", help="A line that `remit releases` shows.")
    ] = "",
    publisher: Annotated[
        str | None,
        typer.Option("--by", metavar="NAME", help="Who publishes. Default: your name and host.", show_default=False),
    ] = None,
    based_on: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="RELEASE",
            help="Refuse if another release than this is the newest; 0 for the first one.",
            show_default=False,
        ),
    ] = None,
    fail_on: Annotated[
        FailOn | None,
        typer.Option(
            help="Publish nothing if a principal or a reach gains, loses, or either, or if more or less may be granted at run time.",
            show_default=False,
        ),
    ] = None,
    lint: Annotated[
        LintSeverity, typer.Option("--lint", help="Publish nothing if there is a finding of at least this severity.")
    ] = LintSeverity.ERROR,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and show everything, and publish nothing.")] = False,
    migrate: Annotated[
        bool, typer.Option("--migrate", help="Make the tables of the policy store, or bring them up to date.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Publish a policy directory to a policy store, from which every node of a fleet takes it.

    Loads, lints and tests the files with both engines, shows who gains and who loses what against the newest release, signs
    the new one and commits it whole. A release that is based on an older one than the newest is refused: its git commit must
    have the newest release's among its ancestors, or --based-on must name the newest release.

    Example: `remit publish policies --to sqlite:///var/policy.db --migrate`
    """
    if (directory is None) == (again is None):
        fail(Exit.USAGE, "say what to publish: a policy directory, or --again with an earlier release")
    if any(not each.isprintable() for each in (message, publisher or "")):
        fail(Exit.USAGE, "--message and --by take printable text of one line")
    signing = _key(key)
    with opened(to, "--to", migrate=migrate and not dry_run) as store:
        newest = store.newest()
        if newest is not None and not dry_run:
            _refuse_directory(store, newest.release)
        before = _version_of(store, newest)
        if directory is not None:
            after, commit = _checked(directory, lint, told=not as_json)
            _refuse_older(directory, commit, newest, based_on)
        else:
            assert again is not None
            repeated = store.release(again).release
            after, commit = _loaded(f"release {again}", store.tree(repeated, DEFAULT_LIMITS.bytes)), repeated.commit
            _require_based_on(newest, based_on)
        compared, refused = compare_tenants(sorted({*before.tree.tenants, *after.tree.tenants}), before, after)
        if not as_json and newest is None:
            count = len(after.tree.tenants)
            out.print(f"{count} tenant{'s' if count > 1 else ''}, all new")
        elif not as_json:
            print_compared([each for each in compared if each.found.directions or each.found.dedicated])
        if refused:
            fail(Exit.UNAVAILABLE, f"not compared: {', '.join(refused)}")
        published: SignedRelease | None = None
        same = newest is not None and _is_same(newest.release, after.tree)
        wrong = is_wrong(compared, fail_on)
        if not (dry_run or same or wrong):
            draft = Draft(after.tree, publisher or _me(), message, commit, again or 0)
            try:
                after_seq = newest.release.seq if newest is not None else 0
                published = store.publish(draft, after_seq, signing, reviewer(lambda tenant: after.snapshot(tenant)[0]))
            except PublishRefusedError as error:
                fail(Exit.NO, str(error))
    _tell(published, newest, compared, same=same, wrong=wrong, as_json=as_json)
    raise typer.Exit(Exit.NO if wrong else Exit.OK)


def _key(file: Path | None) -> SigningKey | None:
    try:
        return None if file is None else SigningKey.read(file)
    except AuditKeyError as error:
        fail(Exit.UNAVAILABLE, str(error))


def _version_of(store: PolicyStore, newest: SignedRelease | None) -> Version:
    if newest is None:
        return Version("nothing", Tree(Folder(""), {}), EMPTY_ROOT)
    return _loaded(f"release {newest.release.seq}", store.tree(newest.release, DEFAULT_LIMITS.bytes))


def _loaded(name: str, tree: Tree) -> Version:
    try:
        return Version(name, tree, load_root(tree))
    except PolicyError as error:
        for each in error.diagnostics:
            err.print(f"{name}: {each}")
        fail(Exit.UNAVAILABLE, f"the root files of {name} do not load in this version of remit")


def _checked(directory: Path, lint: LintSeverity, *, told: bool) -> tuple[Version, str]:
    """The directory's files, which load, pass their tests and are clean, and their git commit. Ends the command otherwise."""
    with loading(directory):
        tree = read_tree(directory, DEFAULT_LIMITS)
        root = load_root(tree)
    if not tree.tenants:
        fail(Exit.NO, f"`{directory}` has no tenant's folder")
    wrong = 0
    for tenant in tree.tenants:
        loaded = load_tenant(tree, tenant, root)
        for text in (*map(str, loaded.diagnostics), *_lint(tree, loaded, lint)):
            err.print(text)
            wrong += 1
        if told and not loaded.diagnostics:
            engines = "both engines" if loaded.witnessed else "remit's engine"
            err.note(f"{tenant}: {loaded.rows} rows, {len(loaded.cases)} test cases pass on {engines}")
    if wrong:
        fail(Exit.NO, f"nothing is published: {wrong} mistake{'s' if wrong > 1 else ''}")
    return Version(str(directory), tree, root), commit_of(directory, tree)


def _lint(tree: Tree, loaded: LoadedTenant, severity: LintSeverity) -> Iterator[str]:
    if loaded.snapshot is None:
        return
    for each in tenant_findings(tree, loaded.snapshot.policy):
        if each.severity.reaches(severity):
            yield f"{each.place}: {each.severity} {each.rule}: {each.message}"


def _refuse_directory(store: PolicyStore, newest: Release) -> None:
    """Ends the command if a running server publishes its policy directory to this store."""
    live = {each.node for each in store.nodes() if each.is_live}
    if newest.origin == DIRECTORY and newest.publisher in live:
        fail(
            Exit.NO,
            f"release {newest.seq} is from the policy directory of server `{newest.publisher}`, which publishes each edit "
            "by itself: edit the files there, or stop that server first",
        )


def _refuse_older(directory: Path, commit: str, newest: SignedRelease | None, based_on: int | None) -> None:
    """Ends the command if the newest release holds changes that these files may lack."""
    _require_based_on(newest, based_on)
    if newest is None or based_on is not None:
        return
    release = newest.release
    theirs, ours = release.commit.removesuffix(DIRTY), commit.removesuffix(DIRTY)
    if not theirs or not ours:
        return
    try:
        contained = Repository(directory).contains(ours, theirs)
    except GitError as error:
        fail(Exit.UNAVAILABLE, str(error))
    shown = f"release {release.seq} has commit {theirs[:_COMMIT_SHOWN]}, published by {release.publisher}"
    if contained is None:
        fail(
            Exit.NO,
            f"{shown}, which this repository does not hold: fetch more of its history, or say --based-on {release.seq}",
        )
    if not contained:
        fail(
            Exit.NO,
            f"{shown}, which {ours[:_COMMIT_SHOWN]} does not contain: merge it, or say --based-on {release.seq}",
        )


def _require_based_on(newest: SignedRelease | None, based_on: int | None) -> None:
    seq = newest.release.seq if newest is not None else 0
    if based_on is not None and based_on != seq:
        by = f", by {newest.release.publisher}" if newest is not None else ""
        fail(
            Exit.NO,
            f"the newest release is {seq}{by}, and this one is based on {based_on}: take its changes over first",
        )


def _is_same(release: Release, tree: Tree) -> bool:
    folders = {tenant: folder.digest for tenant, folder in tree.tenants.items()}
    return release.root == tree.root.digest and dict(release.tenants) == folders


def _me() -> str:
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):
        return socket.gethostname()


def _tell(
    published: SignedRelease | None,
    newest: SignedRelease | None,
    compared: Sequence[Compared],
    *,
    same: bool,
    wrong: bool,
    as_json: bool,
) -> None:
    seq = newest.release.seq if newest is not None else 0
    if as_json:
        document: dict[str, Any] = {"newest": seq, "same": same, "published": None}
        if published is not None:
            release = published.release
            document["published"] = {"release": release.seq, "hash": release.hash, "key_id": published.key_id}
        print_json({**document, "tenants": [diff_text.as_json(each.found) for each in compared]})
    elif published is not None:
        signed = f", signed by key {published.key_id}" if published.key_id else ", not signed"
        out.print(f"release {published.release.seq} is published{signed}")
    elif same:
        out.print(f"release {seq} has these files already: nothing to publish")
    elif wrong:
        err.print("nothing is published: --fail-on", style="red")
    else:
        out.print(f"nothing is published: it would be release {seq + 1}")
