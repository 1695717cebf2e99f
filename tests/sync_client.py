"""Writes the modules of the client that follow from the client for asyncio: `make client`."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Final

CLIENT: Final = Path(__file__).parents[1] / "src" / "remit" / "client"
_MODULE_DOC: Final = '''"""The client for threads. `make client` writes it from async_client.py: do not edit.

It is long because each method is written out, for readers, editors and type checkers.
"""'''
_CLASS_DOC: Final = '''\
    """Asks a remit server. Safe to share between threads; close it, or use it in a `with`.

    Every method raises DecisionUnavailable if there is no answer. The guards raise AccessDenied if the answer is a
    deny. Nothing else is raised. The client never invents an answer: a server that is away is not an allow.
    """'''
_WORDS: Final = (
    ("    @pending\n", ""),
    ("import AsyncTransport, pending", "import SyncTransport"),
    ("async_tenant_client", "tenant_client"),
    ("AsyncTenantClient", "TenantClient"),
    ("async_transport", "sync_transport"),
    ("AsyncTransport", "SyncTransport"),
    ("client.async_client import", "client.sync_client import"),
    ("AsyncClient", "Client"),
    ("AsyncIterator", "Iterator"),
    ("async def ", "def "),
    ("await ", ""),
)
_TENANT_DOC: Final = '''"""The client for asyncio, scoped to one tenant. `make client` writes it from async_client.py: do not edit.

It is long because each method is written out, for readers, editors and type checkers.
"""'''
_TENANT_CLASS: Final = '''
if TYPE_CHECKING:
    from remit.client.async_client import AsyncClient


class AsyncTenantClient:
    """The methods of a client that ask about a tenant, without their first parameter. Uses the connection of that
    client: close that one."""

    def __init__(self, client: "AsyncClient", tenant: str) -> None:
        self._client = client
        self._tenant = tenant

'''
_SHADOWS: Final = '        type: str = "",'


def generated() -> dict[str, str]:
    """The text of each module, by its file name."""
    source = (CLIENT / "async_client.py").read_text(encoding="utf-8")
    scoped = _scoped(source)
    _, _, imports, _, methods = source.split('"""', 4)
    return {
        "sync_client.py": _formatted(_of_threads(f"{_MODULE_DOC}{imports.rstrip(' ')}{_CLASS_DOC}{methods}")),
        "async_tenant_client.py": _formatted(scoped),
        "tenant_client.py": _formatted(_of_threads(scoped).replace("for asyncio, scoped", "for threads, scoped")),
    }


def _scoped(source: str) -> str:
    """The client for asyncio without the parameter `tenant`."""
    module = ast.parse(source)
    imports = [each for each in module.body if isinstance(each, (ast.Import, ast.ImportFrom))]
    (client,) = (each for each in module.body if isinstance(each, ast.ClassDef))
    methods = [
        _without_tenant(each)
        for each in client.body
        if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef))
        and [arg.arg for arg in each.args.args[1:2]] == ["tenant"]
        and each.name != "tenant"
    ]
    head = "\n".join(text for text in map(ast.unparse, imports) if "TenantClient" not in text)
    return (
        f"{_TENANT_DOC}\nfrom typing import TYPE_CHECKING\n{head}\nfrom remit.client.async_transport import PendingQuestion\n"
        + _TENANT_CLASS
        + "\n".join(methods)
    )


def _without_tenant(method: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """A method that calls the method of the same name with its tenant. It returns what that one returns."""
    _, tenant, *positional = method.args.args
    if len(method.args.defaults) > len(positional):
        method.args.defaults = method.args.defaults[1:]
    method.args.args.remove(tenant)
    passed = ["self._tenant", *(each.arg for each in positional)]
    passed += [f"{each.arg}={each.arg}" for each in method.args.kwonlyargs]
    assert method.returns is not None
    returns = ast.unparse(method.returns)
    if isinstance(method, ast.AsyncFunctionDef):
        returns = f"PendingQuestion[{returns}]"
    return (
        f"    def {method.name}({ast.unparse(method.args)}) -> {returns}:\n"
        f'        """{ast.get_docstring(method, clean=False)}"""\n'
        f"        return self._client.{method.name}({', '.join(passed)})\n"
    )


def _of_threads(text: str) -> str:
    for of_asyncio, of_threads in _WORDS:
        text = text.replace(of_asyncio, of_threads)
    lines = [line for line in text.splitlines() if "import PendingQuestion" not in line]
    return "\n".join(_awaited(line) for line in lines)


def _awaited(line: str) -> str:
    """The line of a signature with the result itself, not the question that is awaited."""
    before, pending, result = line.partition("-> PendingQuestion[")
    return f"{before}-> {result.removesuffix(']:')}:" if pending else line


def _formatted(text: str) -> str:
    for command in (["check", "--select", "I,F401", "--fix", "--quiet"], ["format"]):
        ruff = [Path(sys.executable).parent / "ruff", *command, "--stdin-filename", CLIENT / "written.py", "-"]
        text = subprocess.run(ruff, input=text, capture_output=True, text=True, check=True).stdout
    return text.replace(f"{_SHADOWS}\n", f"{_SHADOWS}  # noqa: A002 (as the API has it)\n")


if __name__ == "__main__":
    for name, text in generated().items():
        (CLIENT / name).write_text(text, encoding="utf-8")
