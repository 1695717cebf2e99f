import os
from contextlib import suppress
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from hypothesis import given
from strategies import World, randoms, worlds
from trees import write
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
    with suppress(OSError):
        match random.randrange(9):
            case 0:
                path.write_bytes(bytes(random.randrange(256) for _ in range(random.randint(0, 40))))
            case 1:
                content = bytearray(path.read_bytes())
                content[random.randrange(len(content) + 1) : 0] = bytes([random.randrange(256)])
                path.write_bytes(content)
            case 2:
                path.unlink()
            case 3:
                path.parent.mkdir(exist_ok=True)
                path.symlink_to(path.name)
            case 4:
                path.unlink(missing_ok=True)
                path.symlink_to("/dev/null")
            case 5:
                path.unlink(missing_ok=True)
                os.mkfifo(path)
            case 6:
                (folder / "tests").mkdir(exist_ok=True)
                strange = os.fsencode(folder / "tests") + random.choice(
                    (b"/\xff.yaml", b"/a\nb.yaml", b"/\xe2\x80\xae.yaml")
                )
                Path(os.fsdecode(strange)).write_bytes(b"name: x\n")
            case 7:
                path.mkdir(parents=True)
            case 8:
                path.write_text("kinds: {FLOW: {class: tenant, actions: [VIEW]}}\np, role:x, *, **, *, *, allow\n")
