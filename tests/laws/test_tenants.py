import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from hypothesis import given
from strategies import World, randoms, worlds
from support.trees import write
from worldly import questions, reach_questions, tenants

from remit.core.names import Tenant
from remit.policy.load import LoadedTree, load_tree

ANSWERED = 10


@given(worlds, randoms)
def test_tenants_do_not_leak(world: World, random: Random) -> None:
    """Whatever happens under one tenant's folder, every answer and revision of every other stays as it was."""
    if len(tenants(world)) < 2:
        return
    broken = random.choice(tenants(world))
    with TemporaryDirectory() as directory:
        root = write(Path(directory), world.files)
        before = load_tree(root)
        for _ in range(random.randint(1, 3)):
            corrupt(random, root / broken)
        after = load_tree(root)
    others = [Tenant(tenant) for tenant in tenants(world) if tenant != broken]
    for tenant in others:
        assert not after.tenants[tenant].diagnostics
        assert before.tenants[tenant].revision == after.tenants[tenant].revision
        seed = random.randrange(1 << 30)
        assert answers(before, tenant, seed) == answers(after, tenant, seed)


def answers(tree: LoadedTree, tenant: Tenant, seed: int) -> list[object]:
    snapshot = tree.tenants[tenant].snapshot
    assert snapshot is not None
    asked = questions(snapshot, Random(seed), ANSWERED)
    reached = reach_questions(snapshot, Random(seed), ANSWERED)
    return [*map(snapshot.decide, asked), *map(snapshot.reach.decide, reached)]


def corrupt(random: Random, folder: Path) -> None:
    """One thing that a tenant can do to its own files."""
    name = random.choice(("roles.csv", "bindings.csv", "reach.csv", "tenant.yaml", "tests", "tests/x.yaml", "role.csv"))
    path = folder / name
    # Through a link it would read /dev/zero without end, or harm a file of the machine; a pipe would wait for a reader.
    if path.is_symlink() or path.is_fifo():
        path.unlink()
    with suppress(OSError):
        random.choice(HARMS)(random, path)


def garbage(random: Random, path: Path) -> None:
    path.write_bytes(bytes(random.randrange(256) for _ in range(random.randint(0, 40))))


def one_more_byte(random: Random, path: Path) -> None:
    content = bytearray(path.read_bytes())
    content.insert(random.randrange(len(content) + 1), random.randrange(256))
    path.write_bytes(content)


def rows_of_another_place(random: Random, path: Path) -> None:
    path.write_text("kinds: {FLOW: {class: tenant, actions: [VIEW]}}\np, role:x, *, **, *, *, allow\n")


def gone(random: Random, path: Path) -> None:
    path.unlink()


def a_folder(random: Random, path: Path) -> None:
    path.mkdir(parents=True)


def a_link_to_itself(random: Random, path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(path.name)


def a_link_out(random: Random, path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(random.choice(("/dev/zero", "/etc/hostname", "/")))


def a_pipe(random: Random, path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def a_name_nobody_can_print(random: Random, path: Path) -> None:
    tests = path.parent if path.parent.name == "tests" else path.parent / "tests"
    tests.mkdir(exist_ok=True)
    name = random.choice((b"\xff.yaml", b"a\nb.yaml", b"\xe2\x80\xae.yaml"))
    Path(os.fsdecode(os.fsencode(tests) + b"/" + name)).write_bytes(b"name: x\n")


HARMS: tuple[Callable[[Random, Path], None], ...] = (
    garbage,
    one_more_byte,
    rows_of_another_place,
    gone,
    a_folder,
    a_link_to_itself,
    a_link_out,
    a_pipe,
    a_name_nobody_can_print,
)
