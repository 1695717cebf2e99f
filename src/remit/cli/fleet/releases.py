from typing import Annotated

import typer

from remit.cli.common.as_json import JsonOption, print_json
from remit.cli.common.output import out
from remit.cli.common.table import print_table
from remit.cli.fleet.store_option import StoreOption, opened
from remit.clock import utc_text

_COMMIT_SHOWN = 12


def releases(
    policy_store: StoreOption = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The newest so many.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List the releases of a policy store, newest first.

    `remit publish --again RELEASE` publishes the files of one again.

    Example: `remit releases --policy-store sqlite:///var/policy.db`
    """
    with opened(policy_store, "--policy-store") as store:
        found = store.releases(limit)
    if as_json:
        rows = [
            {
                "release": each.release.seq,
                "hash": each.release.hash,
                "published_us": each.release.published_us,
                "publisher": each.release.publisher,
                "message": each.release.message,
                "commit": each.release.commit,
                "repeats": each.release.repeats,
                "origin": each.release.origin,
                "key_id": each.key_id,
                "tenants": len(each.release.tenants),
            }
            for each in found
        ]
        print_json({"releases": rows})
        return
    if not found:
        out.print("nothing was published yet")
        return
    names = ("release", "published", "by", "tenants", "commit", "key", "message")
    rows_ = []
    for signed in found:
        release = signed.release
        again = f"again release {release.repeats}" if release.repeats else ""
        origin = "from its policy directory" if release.origin else ""
        message = ": ".join(filter(None, (again, origin, release.message)))
        cells = (str(release.seq), utc_text(release.published_us), release.publisher, str(len(release.tenants)))
        rows_.append((*cells, release.commit[:_COMMIT_SHOWN], signed.key_id, message))
    print_table(names, rows_, numbers=("release", "tenants"))
