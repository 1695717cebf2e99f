"""Each page in a real browser: readable for everybody, and nothing from elsewhere."""

from collections.abc import Iterator
from itertools import product

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait
from support.browser import Tab, started
from support.server import until

THEMES = ("light", "dark")
WIDTHS = (1280, 320)
Console = tuple[str, dict[str, list[str]]]

FOCUSABLE = """
return [...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex="0"]')]
  .filter(each => each.type !== 'hidden' && each.tabIndex >= 0 && each.checkVisibility()).length
"""
CUT = """
const pen = document.createElement('canvas').getContext('2d')
return [...document.querySelectorAll('.ask input, .ask select')].flatMap(each => {
  const style = getComputedStyle(each)
  pen.font = style.font
  const arrow = each.list || each.options ? 20 : 0
  const room = each.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight) - arrow
  // A revision is known by the first of its 64 digits.
  const texts = each.options ? [...each.options].map(it => it.text) : [each.placeholder, 'acme.finance.payroll']
  return texts.filter(it => it.length < 64 && pen.measureText(it).width > room)
})
"""
WATCH = """
window.walked = []
document.addEventListener('focusin', ({target: at}) => {
  const box = at.getBoundingClientRect()
  const x = Math.max(box.x, 0) + Math.min(box.width, innerWidth) / 2, y = box.y + Math.min(box.height / 2, 12)
  const there = document.elementFromPoint(Math.min(x, innerWidth - 1), y)
  walked.push({html: at.outerHTML.slice(0, 100), hidden: !(there && (at.contains(there) || there.contains(at)))})
})
"""


def test_page_is_readable_for_everybody_in_both_themes_at_two_widths(
    tab: Tab, console: Console, page_name: str
) -> None:
    host = tab.root.partition("//")[2]
    for path in console[1][page_name]:
        tab.open(path)
        for theme, width in product(THEMES, WIDTHS):
            tab.shape(theme=theme, width=width)

            assert tab.violations() == [], (path, theme, width)
            assert not tab.overflows(), (path, theme, width)
        # A page about a mistake says so in its status, which the browser notes too.
        assert [each for each in tab.complaints() if "status of 400" not in each] == [], path
        assert tab.hosts() <= {host}, path


def test_inputs_show_what_stands_in_them(tab: Tab, console: Console, page_name: str) -> None:
    for path, width in product(console[1][page_name], (1280, 360)):
        tab.open(path, width=width)

        assert tab.run(CUT) == [], (path, width)


def test_reload_gives_the_same_page(tab: Tab, console: Console, page_name: str) -> None:
    for path in console[1][page_name]:
        tab.open(path)
        first = shape_of(tab)
        tab.driver.refresh()

        assert shape_of(tab) == first


def shape_of(tab: Tab) -> list[str]:
    """What stands on the page, without what a question adds by being asked."""
    parts = tab.driver.find_elements(By.CSS_SELECTOR, "h1, h2, thead th, label, .verdict, .command, input")
    return [each.text or (each.get_attribute("value") or "") for each in parts]


def test_keyboard_reaches_and_leaves_everything(tab: Tab, console: Console, page_name: str) -> None:
    for path in console[1][page_name]:
        tab.open(path)
        expected = tab.run(FOCUSABLE)
        tab.run(WATCH)
        tab.driver.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB * (expected + 1))
        walked = tab.run("return walked")

        # One key more leaves the page.
        assert len(walked) == expected, path
        assert [each["html"] for each in walked if each["hidden"]] == []


@pytest.fixture(scope="module")
def scriptless(console: Console) -> Iterator[Tab]:
    with started(script=False) as driver:
        yield Tab(driver, console[0])


def test_page_without_script_says_the_same(scriptless: Tab, tab: Tab, console: Console, page_name: str) -> None:
    for path in console[1][page_name]:
        scriptless.open(path)
        tab.open(path)

        assert shape_of(scriptless) == [each.removesuffix("\nCopy") for each in shape_of(tab)]


def test_form_is_asked_and_theme_is_chosen_without_script(scriptless: Tab) -> None:
    scriptless.open("/t/acme/where")
    scriptless.driver.find_element(By.NAME, "p").send_keys("user:bob", Keys.ENTER)

    until(lambda: "/t/acme/where?p=user%3Abob" in scriptless.driver.current_url, "the answer")
    assert "acme.finance.**" in scriptless.driver.find_element(By.ID, "namespaces").text
    before = scriptless.driver.current_url
    scriptless.driver.find_element(By.CSS_SELECTOR, "button[value=dark]").click()
    # The page that was left may still be there for a moment.
    WebDriverWait(scriptless.driver, 30).until(
        lambda driver: driver.find_elements(By.CSS_SELECTOR, "[data-theme=dark]")
    )
    assert before == scriptless.driver.current_url
    scriptless.driver.delete_all_cookies()


def test_command_of_a_page_is_copied(tab: Tab) -> None:
    tab.command("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    tab.open("/t/acme/where?p=user:bob")
    tab.driver.find_element(By.CSS_SELECTOR, ".command .copy").click()

    copied = tab.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    assert copied.startswith("remit where acme user:bob --target 127.0.0.1:")


@pytest.mark.parametrize("theme", THEMES)
def test_matrix_is_walked_by_keys_and_explains_a_cell_beside_it(tab: Tab, theme: str) -> None:
    tab.complaints()
    tab.open("/t/acme/matrix?k=FLOW&ns=acme.finance", theme=theme)
    rows = [
        row.find_elements(By.CSS_SELECTOR, "a") for row in tab.driver.find_elements(By.CSS_SELECTOR, ".matrix tbody tr")
    ]

    def after(*keys: str) -> WebElement:
        ActionChains(tab.driver).send_keys(*keys).perform()
        return tab.driver.switch_to.active_element

    def with_control(key: str) -> WebElement:
        ActionChains(tab.driver).key_down(Keys.CONTROL).send_keys(key).key_up(Keys.CONTROL).perform()
        return tab.driver.switch_to.active_element

    assert ["grid", "gridcell"] == [
        tab.driver.find_element(By.CSS_SELECTOR, each).aria_role for each in (".matrix", ".matrix td")
    ]
    rows[0][0].send_keys(Keys.ARROW_UP)
    assert rows[0][0] == after(Keys.ARROW_LEFT)
    assert rows[1][1] == after(Keys.ARROW_DOWN, Keys.ARROW_RIGHT)
    assert rows[1][-1] == after(Keys.END)
    assert rows[1][0] == after(Keys.HOME)
    assert rows[-1][-1] == with_control(Keys.END)
    assert rows[0][0] == with_control(Keys.HOME)
    left = after(Keys.TAB)
    assert all(left != each for row in rows for each in row)
    cell = rows[1][1]
    cell.send_keys(Keys.ENTER)
    beside = tab.driver.find_element(By.ID, "beside")
    until(lambda: tab.driver.switch_to.active_element == beside, "the explanation")
    assert "user:alice" in beside.text
    assert "ALLOWED" in beside.find_element(By.CSS_SELECTOR, ".verdict").text
    assert "/matrix?" in tab.driver.current_url
    assert tab.violations() == []
    assert cell == after(Keys.ESCAPE)
    assert not beside.is_displayed()
    assert tab.complaints() == []


def test_question_mark_opens_the_keys_of_the_matrix_and_only_there(tab: Tab) -> None:
    tab.complaints()
    tab.open("/t/acme/matrix?k=FLOW&ns=acme.finance")
    keys = tab.driver.find_element(By.ID, "keys")
    button = tab.driver.find_element(By.ID, "show-keys")
    cell = tab.driver.find_element(By.CSS_SELECTOR, ".matrix td a")

    button.send_keys("?")
    assert not keys.is_displayed()
    cell.send_keys("?")
    assert keys.is_displayed()
    for named in ("Arrows", "Home", "End", "Ctrl", "Enter", "Escape"):
        assert named in keys.text
    assert tab.violations() == []
    ActionChains(tab.driver).send_keys(Keys.ESCAPE).perform()
    assert not keys.is_displayed()
    assert cell == tab.driver.switch_to.active_element
    button.click()
    assert keys.is_displayed()
    keys.find_element(By.TAG_NAME, "button").click()
    assert not keys.is_displayed()
    assert tab.complaints() == []


def test_live_page_shows_what_is_decided_until_it_is_paused(tab: Tab, console: Console) -> None:
    tab.complaints()

    def first() -> str:
        return tab.run("return document.querySelector('#feed tbody tr')?.textContent ?? ''")

    tab.open("/t/acme/live")
    tab.run("fetch('explain?p=user:seen-live&a=VIEW&k=FLOW&ns=acme.finance')")
    until(lambda: "user:seen-live" in first(), "the decision on the page")
    pause = tab.driver.find_element(By.ID, "pause")
    pause.click()
    assert (pause.get_attribute("aria-pressed"), pause.text) == ("true", "Go on")
    assert tab.complaints() == []
