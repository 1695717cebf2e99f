from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from remit.core.policy import Policy
from remit.core.rows import ReachRule
from remit.engine.differential.casbin_oracle import ACCESS_MODEL, REACH_MODEL
from remit.migrate.casbin.sql_table import TABLE

REACH_TABLE: Final = f"{TABLE}_reach"
PRIORITY_MODEL: Final = REACH_MODEL.replace("p = tenant,", "p = priority, tenant,")
"""reach.conf with the order of the rows as a column: a database table has no order."""


@dataclass(frozen=True, slots=True)
class Exported:
    files: dict[str, bytes]
    """By name: models, rows, vocabulary and README."""
    tables: dict[str, list[tuple[str, ...]]]
    """By name of a `casbin_rule` table: its rows, the type first."""


def export(policy: Policy, vocabulary: bytes) -> Exported:
    """Exports a policy. `vocabulary` is the root's vocabulary.yaml, which a later import of the rows needs."""
    access = [*(("p", *rule.fields) for rule in policy.rules), *(("g", *link.fields) for link in policy.links)]
    reach = [_reach_row(number, rule) for number, rule in enumerate(policy.reach, start=1)]
    files = {
        "access.conf": ACCESS_MODEL.encode(),
        "access.csv": _csv("p, sub, tenant, ns, kind, act, eft; g, sub, sub, scope", access),
        "reach.conf": PRIORITY_MODEL.encode(),
        "reach.csv": _csv("p, priority, tenant, caller, owner, relation, eft", reach),
        "vocabulary.yaml": vocabulary,
        "README.md": _readme(policy).encode(),
    }
    return Exported(files, {TABLE: access, REACH_TABLE: reach})


def _reach_row(priority: int, rule: ReachRule) -> tuple[str, ...]:
    return ("p", str(priority), *rule.fields)


def _csv(head: str, rows: Sequence[Sequence[str]]) -> bytes:
    return "".join(f"{line}\n" for line in (f"# {head}", *(", ".join(row) for row in rows))).encode()


def _readme(policy: Policy) -> str:
    kinds = policy.vocabulary.kinds.values()
    inherited = [relation.name for relation in policy.vocabulary.relations.values() if relation.inherited]
    if policy.access is None:
        access = "There is none here: every principal is evaluated."
    elif policy.access:
        listed = ", ".join(f"`{each}`" for each in sorted(policy.access))
        access = f"Here only these, and the members of listed groups, are evaluated at all: {listed}."
    else:
        access = "Here it admits nobody: remit denies every question, whatever the rows say."
    named = sum(map(len, policy.dedicated.values()))
    return _README.format(
        tenant=policy.tenant,
        revision=policy.revision,
        kinds="\n".join(
            f"| `{kind.name}` | {kind.kind_class} | {', '.join(f'`{action}`' for action in sorted(kind.actions))} |"
            for kind in sorted(kinds, key=lambda each: each.name)
        ),
        access=access,
        dedicated=f"{named} dedicated resource{'s are' if named != 1 else ' is'} named for the tenant and its namespaces."
        if named
        else "None is named here.",
        inherited=", ".join(f"`{each}`" for each in inherited) or "none",
        reach_table=REACH_TABLE,
        table=TABLE,
    )


_README: Final = """\
# Tenant `{tenant}` as plain Casbin

Exported by remit from revision `{revision}`. `access.conf` with `access.csv` decides who may do what; `reach.conf` with
`reach.csv` decides which namespace may use what another owns. In a database the same rows are in the tables `{table}`
and `{reach_table}`, which is a policy of its own for `reach.conf`.

```python
import casbin
import remit.casbin

access = casbin.Enforcer("access.conf", "access.csv")
remit.casbin.register(access)
access.enforce("user:alice", "{tenant}", "some.namespace", "KIND", "ACTION")

reach = casbin.Enforcer("reach.conf", "reach.csv")
remit.casbin.register(reach)
reach.enforce("{tenant}", "calling.namespace", "owning.namespace", "RELATION")
```

A question about the tenant itself has the empty text as its namespace. Without the registered functions Casbin raises.

## What Casbin cannot know

Casbin judges rows, not doors. For a question that passes all of these it decides as remit does; whoever asks Casbin must
see to them:

- **Names.** remit refuses a question whose principal, tenant, namespace, kind or action is outside its grammar. Casbin takes
  any text: a request as `role:x` holds that role.
- **The vocabulary** is closed. remit denies a kind or action that is not in it (`UNKNOWN_KIND`, `UNKNOWN_ACTION`); in Casbin
  a row with `*` allows it. A relation that is not declared is denied likewise.
- **Classes.** A question about a kind of class `namespace` must carry a namespace, one about another kind must carry none, and
  kinds of class `instance` are denied here (`WRONG_CLASS`).
- **The access list.** {access}
- **Dedicated resources.** {dedicated} Casbin holds none of it.
- **Reach.** A namespace always reaches itself. Where no row matches, these relations are inherited from an ancestor to its
  descendants, and all else is denied: {inherited}. Casbin denies wherever no row matches.
- **Explanations, revisions, records.** Casbin names one row at most, and writes nothing down.

| kind | class | actions |
|---|---|---|
{kinds}
"""
