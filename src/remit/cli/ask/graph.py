from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from remit.cli.ask.check import PrincipalArgument, TenantArgument
from remit.cli.ask.graph_tree import rich_tree
from remit.cli.common.as_json import JsonOption, form_of, print_json
from remit.cli.common.backend import Backend, end_where_refused, with_backend
from remit.cli.common.help import OUTPUT
from remit.cli.common.output import Exit, fail, out
from remit.cli.common.table import Whole
from remit.drawing.graph_dot import read_dot, write_dot
from remit.drawing.graph_edges import forbidden
from remit.drawing.graph_json import read_json
from remit.drawing.graph_svg import EDGES_LIMIT, NODES_LIMIT, write_svg
from remit.drawing.graph_tree import trees
from remit.files import cause_of
from remit.v1 import visibility_service_pb2 as messages


class GraphFormat(StrEnum):
    TREE = "tree"
    DOT = "dot"
    SVG = "svg"
    JSON = "json"


@with_backend
def graph(
    tenant: TenantArgument,
    principal: PrincipalArgument,
    file: Annotated[Path, typer.Argument(help="`.json`, or `.dot` or `.gv`.", show_default=False)],
    action: Annotated[str, typer.Option(help="A node is visible if the principal may do this.")] = "VIEW",
    omit: Annotated[bool, typer.Option("--omit", help="Leave hidden nodes out, instead of nameless stubs.")] = False,
    as_format: Annotated[
        GraphFormat, typer.Option("--format", help="What to print.", rich_help_panel=OUTPUT)
    ] = GraphFormat.TREE,
    as_json: JsonOption = False,
    *,
    backend: Backend,
) -> None:
    """Draw a dependency graph as a principal sees it, with the dependencies that reach forbids.

    Asks the files in --policies (not recorded), or with --target a running server (recorded). JSON is `{"nodes":
    [{"uid", "kind", "namespace", "id"}], "edges": [{"source", "target", "relation"}]}`; in DOT these are attributes. An
    edge means: source uses target.

    Example: `remit graph acme user:carol docs/graphs/close.json`
    """
    as_format = form_of(as_format, as_json, text=GraphFormat.TREE, json_=GraphFormat.JSON)
    request = _read(file)
    request.tenant, request.principal, request.action = tenant, principal, action
    request.hidden = messages.HIDDEN_NODES_OMIT if omit else messages.HIDDEN_NODES_STUB
    answer: messages.VisibleGraphResponse = backend.ask(request)
    if as_format is GraphFormat.JSON:
        print_json(answer)
    end_where_refused(answer.receipt, request, backend)
    match as_format:
        case GraphFormat.TREE:
            _print_trees(answer)
        case GraphFormat.DOT:
            typer.echo(write_dot(answer), nl=False)
        case GraphFormat.SVG:
            if len(answer.nodes) > NODES_LIMIT or len(answer.edges) > EDGES_LIMIT:
                size = f"{len(answer.nodes)} nodes and {len(answer.edges)} edges"
                limits = f"at most {NODES_LIMIT} and {EDGES_LIMIT} are drawn"
                fail(Exit.USAGE, f"{size}: {limits}; Graphviz draws --format dot")
            typer.echo(write_svg(answer), nl=False)


def _read(file: Path) -> messages.VisibleGraphRequest:
    if file.suffix not in _READERS:
        fail(Exit.USAGE, f"`{file}`: expected a name that ends in {', '.join(_READERS)}")
    try:
        return _READERS[file.suffix](file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        fail(Exit.USAGE, f"`{file}` cannot be read: {cause_of(error)}")
    except (ValueError, RecursionError) as error:
        fail(Exit.USAGE, f"{file}: {error}")


_READERS: Final = {".json": read_json, ".dot": read_dot, ".gv": read_dot}


def _print_trees(answer: messages.VisibleGraphResponse) -> None:
    for tree in trees(answer):
        out.print(Whole(rich_tree(tree)))
    hidden = sum(not node.kind for node in answer.nodes)
    summary = (
        f"{len(answer.nodes) - hidden} nodes visible, {len(answer.edges)} edges, "
        f"{sum(map(forbidden, answer.edges))} forbidden"
    )
    out.print(f"{summary}; {hidden} hidden" if hidden else summary)
