from random import Random

from hypothesis import given
from strategies import World, randoms, worlds
from support.trees import snapshot_of
from worldly import snapshots

from remit.core.rows import Link, ReachRule, Rule


def meanings(rows: tuple[Rule | Link | ReachRule, ...]) -> list[tuple[str, ...]]:
    return [row.fields for row in rows]


@given(worlds, randoms)
def test_parse_after_format_is_identity(world: World, random: Random) -> None:
    """Each row, written out and read again, says the same; with blanks around the fields and CRLF too."""
    for snapshot in snapshots(world):
        policy = snapshot.policy
        comma = "," + " " * random.randint(0, 2)
        end = random.choice(("\n", "\r\n", " \n", "\n\n# a comment\n"))
        own = [rule for rule in policy.rules if rule.tenant != "*"]
        written = {
            **world.files,
            f"{policy.tenant}/roles.csv": "".join(f"{row.text}{end}".replace(", ", comma) for row in own).encode(),
            f"{policy.tenant}/bindings.csv": "".join(f" {row.text}{end}" for row in policy.links).encode(),
            f"{policy.tenant}/reach.csv": "".join(
                f"{row.text}{end}".replace(", ", comma) for row in policy.reach
            ).encode(),
        }
        again = snapshot_of(written, policy.tenant).policy
        assert meanings(policy.rules) == meanings(again.rules)
        assert meanings(policy.links) == meanings(again.links)
        assert meanings(policy.reach) == meanings(again.reach)
        assert again.links == tuple(
            Link(link.member, link.holds, link.tenant, link.scope, again_link.file, again_link.line)
            for link, again_link in zip(policy.links, again.links, strict=True)
        )
