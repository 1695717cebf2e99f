"""`make screens`: pictures of six pages of the console, of the example company with some traffic."""

import random
import sys
import tempfile
from pathlib import Path
from typing import Final

from support.browser import Tab, started
from support.console import ConsoleProcess, example_server

from remit.client import Asked, Client

PAGES: Final = {
    "matrix": ("/t/acme/matrix?k=FLOW&ns=acme.finance", "light"),
    "explain": ("/t/acme/explain?p=user:grace&a=RESTART&k=EXECUTION&ns=acme.finance.payroll", "dark"),
    "decisions": ("/t/acme/decisions?since=24h", "light"),
    "denials": ("/t/acme/denials", "dark"),
    "names": ("/t/acme/names", "light"),
    "graph": ("/t/acme/graph?p=user:carol&file=close.json", "light"),
}
WIDTH: Final = 1100
HEIGHT: Final = 720
PEOPLE: Final = ("alice", "bob", "carol", "dave", "grace", "mei", "otto", "vera")
PLACES: Final = ("acme.finance", "acme.finance.payroll", "acme.finance.reports", "acme.data.reporting", "acme.data.etl")
ACTIONS: Final = ("VIEW", "LIST", "UPDATE", "EXECUTE", "CREATE")


def ask(client: Client) -> None:
    """Some questions of services, as they come."""
    dice = random.Random(7)
    for _ in range(12):
        questions = [
            Asked(f"user:{dice.choice(PEOPLE)}", dice.choice(ACTIONS), "FLOW", dice.choice(PLACES)) for _ in range(20)
        ]
        client.tenant("acme").batch_check(questions)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as scratch,
        example_server(Path(scratch)) as server,
        server.client() as client,
        ConsoleProcess(server) as console,
        started() as driver,
    ):
        ask(client)
        tab = Tab(driver, console.url)
        for name, (path, theme) in PAGES.items():
            tab.open(path, theme=theme, width=WIDTH)
            if name == "matrix":
                tab.run("document.querySelectorAll('.matrix td a')[12].click()")
                driver.implicitly_wait(10)
                driver.find_element("css selector", "#beside .verdict")
            tab.save(folder / f"console-{name}.png", most=HEIGHT)
            print(folder / f"console-{name}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
