import os
import shutil
from collections.abc import Iterator
from difflib import unified_diff
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated

import typer

from remit.cli.common.as_json import JsonOption, print_json
from remit.cli.common.output import Exit, err, fail, out
from remit.cli.common.policies_option import POLICIES_DEFAULT, PoliciesOption, directory_of
from remit.core.diagnostics import Diagnostic
from remit.policy.format import format_file
from remit.policy.load import DEFAULT_LIMITS
from remit.policy.read.report import Diagnostics
from remit.policy.read.tree import VOCABULARY, read_tree

_ENDINGS = (".csv", ".yaml")


def fmt(
    context: typer.Context,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="DIR|FILE",
            help="Policy directories, tenants' folders in one, single files; in place of --policies.",
            show_default=False,
        ),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; list the files that would change.")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Write nothing; print what would change.")] = False,
    as_json: JsonOption = False,
    policies: PoliciesOption = POLICIES_DEFAULT,
) -> None:
    """Write policy files in canonical form: columns aligned, comments kept, the meaning unchanged.

    With `--check` or `--diff`, exits 1 if a file would change.

    Example: `remit fmt policies --check`
    """
    changed: list[dict[str, str]] = []
    refused: list[Path] = []
    mistakes: list[Diagnostic] = []
    folders = [directory_of(context, each, policies) for each in paths or (None,)]
    for path in (file for each in folders for file in _files(each)):
        report = Diagnostics()
        content = _read(path)
        formatted = format_file(str(path), content, report)
        mistakes += report.diagnostics
        for each in report.diagnostics:
            err.print(str(each))
        if formatted is None:
            refused.append(path)
        elif formatted != content:
            difference = "".join(_difference(path, content, formatted)) if diff else ""
            changed.append({"file": str(path), "diff": difference})
            if not as_json:
                out.print(difference or str(path), end="" if diff else "\n")
            if not (check or diff):
                _write(path, formatted)
    if as_json:
        print_json({"written": not (check or diff), "changed": changed, "refused": refused, "mistakes": mistakes})
    if refused:
        several = len(refused) > 1
        left = f"file{'s are' if several else ' is'} left as {'they are' if several else 'it is'}"
        fail(Exit.NO, f"{len(refused)} {left}")
    raise typer.Exit(Exit.NO if changed and (check or diff) else Exit.OK)


def _files(path: Path) -> Iterator[Path]:
    """The file itself, or the files that the loader reads in a policy directory or in a tenant's folder."""
    if not path.is_dir():
        if not path.exists():
            fail(
                Exit.UNAVAILABLE,
                f"`{path}` does not exist: name a policy directory, a tenant's folder in one, or files",
            )
        if not path.name.endswith(_ENDINGS):
            fail(Exit.USAGE, f"`{path}` is no policy file: expected one that ends in `.csv` or `.yaml`")
        yield path
        return
    whole = (path / VOCABULARY).exists()
    directory = path if whole else path.resolve().parent
    if not (directory / VOCABULARY).exists():
        fail(Exit.USAGE, f"`{path}` is neither a policy directory nor a tenant's folder in one: no {VOCABULARY} there")
    try:
        tree = read_tree(directory, DEFAULT_LIMITS)
    except OSError as error:
        fail(Exit.UNAVAILABLE, f"policy directory `{directory}` cannot be read: {error.strerror or error}")
    for folder in (tree.root, *tree.tenants.values()):
        if whole or folder.name == path.resolve().name:
            for file in folder.files:
                yield path / (file if whole else file.removeprefix(f"{folder.name}/"))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        fail(Exit.UNAVAILABLE, f"`{path}` cannot be read: {error.strerror or error}")


def _write(path: Path, content: bytes) -> None:
    """Replaces a file at once: a server that reads meanwhile sees the old file or the new one. A link stays a link."""
    target = path.resolve()
    try:
        # The loader ignores a name that begins with a dot.
        with NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as stream:
            try:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
                shutil.copymode(target, stream.name)
                Path(stream.name).replace(target)
            except OSError:
                Path(stream.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        fail(Exit.UNAVAILABLE, f"`{path}` cannot be written: {error.strerror or error}")


def _difference(path: Path, before: bytes, after: bytes) -> Iterator[str]:
    old, new = (each.decode().splitlines(keepends=True) for each in (before, after))
    for line in unified_diff(old, new, f"{path}", f"{path} (formatted)"):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
