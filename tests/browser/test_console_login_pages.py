"""Login and logout in a real browser: what its policies for forms and cookies allow."""

import subprocess
from pathlib import Path

from selenium.webdriver.common.by import By
from support.browser import ROOT, Tab, started
from support.console import ConsoleProcess
from support.console_login import world_of_people
from support.server import until


def test_person_logs_in_and_out(tmp_path: Path) -> None:
    subprocess.run([ROOT / "tests/javascript/install"], check=True, timeout=300)
    with world_of_people(tmp_path, "") as world:
        url, flags = world.console_flags("127.0.0.1")
        with ConsoleProcess(world.server, *flags), started(any_certificate=True) as driver:
            tab = Tab(driver, url)
            for theme, width in (("light", 1280), ("dark", 320)):
                tab.open("/t/acme", theme=theme, width=width)
                assert "Logged in as ann@acme" in driver.find_element(By.CSS_SELECTOR, "header").text
                assert (tab.violations(), tab.overflows()) == ([], False)

            driver.find_element(By.CSS_SELECTOR, "form.person button").click()
            until(lambda: driver.title == "Logged out · remit", "the browser comes back")
            assert [each["client_id"] for each in world.provider.logged_out] == ["remit-console"]
            assert driver.get_cookies() == []

            # Somebody else, to a page that wants a recent proof.
            world.provider.person = "olga"
            driver.get(f"{url}t/acme/pin")
            assert driver.find_element(By.TAG_NAME, "h1").text == "Unpin acme"
            assert tab.complaints() == []
