"""The page in a headless Chromium: its buttons from end to end, two pages at once, a lost connection."""

import json
import os
import signal
from collections.abc import Iterator

import pytest

from lab.brokers.provide import install_package
from lab.settings import settings
from tests.eventually import eventually
from tests.watch.page import DESKTOP, PHONE, Browser, Tab, Watching, find_browser, watching

KILL = "[data-action=kill_node]:not(.off)"
MARKUP = "<img src=/page/none onerror=alert(1)>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = find_browser()
    if not program and settings().require_brokers:  # CI
        install_package("chromium", "chromium")
        program = find_browser()
    if not program:
        pytest.skip("no Chromium here to look at the page with: apt install chromium")
    with Browser(program) as started:
        yield started


@pytest.fixture(scope="module")
def command(redis_url: str, browser: Browser) -> Iterator[Watching]:
    options = ("redis_impl", "--nodes", "1", "--interval", "500ms")
    with watching(*options, redis_url=redis_url) as started:
        yield started


@pytest.fixture
def tab(browser: Browser, command: Watching) -> Iterator[Tab]:
    opened = live(browser, command)
    yield opened
    opened.close()
    assert not browser.trouble, "a page wrote errors to its console"


def live(browser: Browser, command: Watching, size: tuple[int, int] = DESKTOP) -> Tab:
    """Return a page that gets news."""
    tab = browser.open(command.url, size)
    tab.wait("document.body && document.body.dataset.connection === 'live'")
    return tab


def shows(tab: Tab, selector: str, text: str) -> None:
    """Wait until an element holds *text*."""
    found = f"document.querySelector({json.dumps(selector)})"
    try:
        tab.wait(f"{found} && {found}.textContent.includes({json.dumps(text)})")
    except AssertionError:
        pytest.fail(f"{selector} does not show {text!r} but {tab.text(selector)!r}")


def test_the_token_leaves_the_address_bar_and_a_reload_needs_it_no_more(tab: Tab, command: Watching) -> None:
    assert tab.run("location.href") == f"http://{command.host}/"
    tab.ask("Page.reload")
    tab.wait("document.body && document.body.dataset.connection === 'live'")
    assert tab.run("document.cookie") == ""


def test_the_broadcast_is_started_its_ticks_come_and_it_is_stopped(tab: Tab) -> None:
    tab.click("[data-press=start_broadcast]")
    shows(tab, "#result", "The broadcast")
    shows(tab, "#broadcast", "is on")
    tab.wait("document.querySelectorAll('#ticks li').length >= 2")
    tab.click("[data-press=stop_broadcast]")
    shows(tab, "#broadcast", "is off")


def test_an_insult_is_added_and_a_text_with_it_is_censored(tab: Tab) -> None:
    tab.fill("#insult", "zopenquillo")
    tab.click("form[data-action=add_insult] button")
    shows(tab, "#result", "“zopenquillo” is stored")

    def censored() -> bool:  # nodes follow the store's insults, a moment later
        tab.fill("#text", "what a zopenquillo")
        tab.click("form[data-action=send_text] button")
        tab.wait("!document.querySelector('form[data-action=send_text] [aria-disabled]')")
        return tab.text("#censored") == "what a CENSORED"

    eventually(censored)


def test_the_enter_key_presses_the_button_of_a_form(tab: Tab) -> None:
    tab.fill("#insult", "papanatas")
    tab.run("document.querySelector('#insult').focus()")
    for kind in ("keyDown", "keyUp"):
        tab.ask("Input.dispatchKeyEvent", type=kind, key="Enter", windowsVirtualKeyCode=13, text="\r")
    shows(tab, "#result", "papanatas")


def test_markup_is_shown_as_text(tab: Tab) -> None:
    tab.fill("#text", MARKUP)
    tab.click("form[data-action=send_text] button")
    shows(tab, "#censored", MARKUP)
    assert tab.run("document.querySelectorAll('img').length") == 0


def test_a_node_added_on_one_page_is_seen_on_another_and_killed_there(
    browser: Browser, tab: Tab, command: Watching
) -> None:
    other = live(browser, command, PHONE)
    before = tab.run(f"document.querySelectorAll('{KILL}').length")
    tab.click("[data-application=filter] button.plain")
    shows(tab, "#result", "2 filter nodes serve")
    other.wait(f"document.querySelectorAll('{KILL}').length === {before + 1}")
    pid = max(command.nodes())
    other.click(f"[aria-label='Kill filter node, process {pid}']")
    for page in (other, tab):
        shows(page, "#events", f"process {pid}) was killed by SIGKILL")
        shows(page, "#events", "serves again")
        page.wait("document.querySelector('svg .fault')")
    eventually(lambda: len(command.nodes()) == 2)
    last = command.nodes()[-1]
    other.click(f"[aria-label='Remove filter node, process {last}']")
    shows(other, "#result", "finished what it had, and left")
    other.wait(f"document.querySelectorAll('{KILL}').length === {before}")
    other.close()


def test_the_rate_is_set_and_the_figures_follow(tab: Tab, command: Watching) -> None:
    tab.fill("#rate-number", "35")
    tab.click("form[data-action=load] button")
    shows(tab, "#result", "35 requests per second")
    tab.wait("+document.querySelector('.tiles dd span').textContent > 25")
    assert tab.run("document.querySelector('#rate').value") == "35"
    command.press("load", rate=20)  # as another page does
    tab.wait("document.querySelector('#rate-number').value === '20'")
    assert "answered" in tab.run("document.querySelector('#charts svg').getAttribute('aria-label')")


@pytest.mark.parametrize(
    ("field", "value", "button", "code"),
    [
        ("#count-filter", "500", "[data-application=filter] button", "TOO_LARGE"),
        ("#count-filter", "1.5", "[data-application=filter] button", "WRONG_TYPE"),
        ("#rate-number", "", "form[data-action=load] button", "WRONG_TYPE"),
        ("#rate-number", "1e9", "form[data-action=load] button", "TOO_LARGE"),
        ("#insult", " ", "form[data-action=add_insult] button", "MALFORMED"),
    ],
)
def test_rubbish_shows_the_labs_code(
    browser: Browser, tab: Tab, field: str, value: str, button: str, code: str
) -> None:
    tab.fill(field, value)
    tab.click(button)
    shows(tab, "#result", f"{code}: ")
    assert tab.run("getComputedStyle(document.querySelector('#result')).display") != "none"
    # The browser itself notes an answer that is an error; nothing else may be there.
    eventually(lambda: browser.trouble)
    assert all("Failed to load resource" in trouble for trouble in browser.trouble), browser.trouble
    browser.trouble.clear()


def test_a_lost_connection_is_reported_and_comes_back(tab: Tab, command: Watching) -> None:
    os.kill(command.process.pid, signal.SIGSTOP)
    try:
        tab.wait("document.body.dataset.connection === 'lost'")
        assert "trying again" in tab.text("#connection")
    finally:
        os.kill(command.process.pid, signal.SIGCONT)
    tab.wait("document.body.dataset.connection === 'live'")
    tab.wait("document.querySelectorAll('#rows tr').length >= 3")


ARROW_PRESSES = 12


def test_held_arrow_keys_are_not_lost(tab: Tab, command: Watching) -> None:
    command.press("load", rate=20)
    tab.wait("document.querySelector('#rate').value === '20'")
    tab.run("document.querySelector('#rate').focus()")
    for _ in range(ARROW_PRESSES):  # a held key repeats before the answer to the first is there
        tab.key("ArrowRight", 39)
    assert tab.run("document.querySelector('#rate').value") == str(20 + 5 * ARROW_PRESSES)
    eventually(lambda: command.state()["facts"]["rate"] == 20 + 5 * ARROW_PRESSES)
    command.press("load", rate=20)


def test_the_picture_shows_clients_the_queue_and_each_node(tab: Tab, command: Watching) -> None:
    command.press("load", rate=30)
    (node, *_) = eventually(command.nodes)
    tab.wait(f"document.querySelector('.picture').textContent.includes('{node}')")
    tab.wait("document.querySelectorAll('.picture .dot').length > 2")
    label = "document.querySelector('.picture').getAttribute('aria-label')"
    tab.wait(f"/list, \\d+ under way; 1 filter nodes: \\d+ serving [\\d.]+ per second/.test({label})")
    command.press("freeze_node", pid=node)
    tab.wait(f"{label}.includes('{node} frozen') && document.querySelector('.picture .frozen')")
    command.press("thaw_node", pid=node)
    tab.wait(f"{label}.includes('{node} serving')")


def test_a_row_stays_where_it_is_while_its_node_is_replaced_and_keeps_the_focus(
    tab: Tab, command: Watching
) -> None:
    (node, *_) = eventually(command.nodes)
    button = f"[aria-label='Kill filter node, process {node}']"
    tab.wait(f'document.querySelector("{button}")')
    place = "[...document.querySelectorAll('#rows tr')].indexOf(document.activeElement.closest('tr'))"
    tab.run(f'document.querySelector("{button}").focus()')
    before = tab.run(f"[{place}, document.activeElement.getBoundingClientRect().x]")
    for kind in ("keyDown", "keyUp"):
        tab.ask("Input.dispatchKeyEvent", type=kind, key="Enter", windowsVirtualKeyCode=13, text="\r")
    eventually(lambda: (seen := command.nodes()) and node not in seen, 30.0)
    new = eventually(command.nodes)[0]
    tab.wait(f"document.activeElement.getAttribute('aria-label') === 'Kill filter node, process {new}'")
    assert tab.run(f"[{place}, document.activeElement.getBoundingClientRect().x]") == before


def test_the_page_is_held_and_goes_on_with_all_that_came_meanwhile(tab: Tab, command: Watching) -> None:
    tab.click("#hold")
    assert tab.run("document.querySelector('#hold').getAttribute('aria-pressed')") == "true"
    command.press("load", rate=45)
    eventually(lambda: command.point()["offered"] == 45)
    assert tab.run("document.querySelector('#rate').value") != "45"
    tab.click("#hold")
    tab.wait("document.querySelector('#rate').value === '45'")
    command.press("load", rate=20)


def test_pause_stops_the_load_and_resume_brings_it_back(tab: Tab, command: Watching) -> None:
    command.press("load", rate=25)
    tab.wait("document.querySelector('#rate').value === '25'")
    tab.click("#pause")
    shows(tab, "#pause", "Resume")
    assert command.state()["facts"]["rate"] == 0
    tab.click("#pause")
    shows(tab, "#pause", "Pause")
    assert command.state()["facts"]["rate"] == 25


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_nothing_is_wider_than_the_screen(browser: Browser, command: Watching, size: tuple[int, int]) -> None:
    tab = live(browser, command, size)
    assert tab.run("document.documentElement.scrollWidth") <= size[0]
    wide = "[...document.querySelectorAll('button, input, td, dd')].filter(one => one.checkVisibility()"
    out = tab.run(f"{wide} && one.getBoundingClientRect().right > {size[0]}).map(one => one.outerHTML)")
    assert out == []
    tab.close()


def test_everything_that_can_be_used_has_a_name(tab: Tab) -> None:
    tab.wait("document.querySelector('[data-action=kill_node]')")
    tab.ask("Accessibility.enable")
    usable = {"button", "textbox", "slider", "spinbutton", "table", "image", "list"}
    nodes = tab.ask("Accessibility.getFullAXTree")["nodes"]
    found = [node for node in nodes if not node["ignored"] and node["role"]["value"] in usable]
    assert {node["role"]["value"] for node in found} >= usable - {"list", "image"}
    nameless = [node["role"]["value"] for node in found if not node.get("name", {}).get("value")]
    assert nameless == []
    assert tab.run("document.querySelector('#result').ariaLive") == "polite"
