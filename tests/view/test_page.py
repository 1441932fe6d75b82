"""The live page in a browser, by clicking through."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from browser import opened
from playwright.sync_api import Page, expect
from view_runs import HOSTILE, steps_of, write_iteration, write_run

from hgpo.gateway.address import listening
from hgpo.rollout_files import write_rollouts
from hgpo.view.server import application
from hgpo.view.sources import open_source


@contextmanager
def served(*paths: Path, rename: dict[str, str] | None = None) -> Iterator[str]:
    """The address of a page over some runs or files."""
    sources = [open_source(path, rename or {}, None) for path in paths]
    with listening("127.0.0.1", 0) as address:
        server = uvicorn.Server(
            uvicorn.Config(application(sources, "token"), log_level="error", timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [address]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{address.getsockname()[1]}/token/"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "first")


@pytest.fixture(scope="module")
def address(run) -> Iterator[str]:
    with served(run) as url:
        yield url


def rows(page: Page) -> Any:
    return page.locator(".rollouts tbody tr")


def complete(page: Page, count: int) -> None:
    expect(page.locator("#total")).to_have_text(f"1 – {count} of {count} rollouts")


def test_from_a_curve_to_a_step(address, browser):
    with opened(browser, address) as page:
        expect(page).to_have_title("first – hgpo view")
        expect(page.locator("#live")).to_have_text("3 of 4 iterations")
        chart = page.locator(".charts figure svg").first
        box = chart.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] * 0.55, box["y"] + 50)
        page.mouse.click(box["x"] + box["width"] * 0.55, box["y"] + 50)
        # The middle of three iterations: two tasks with two rollouts each.
        complete(page, 4)
        assert page.locator("#filter-iteration").input_value() == "2"
        page.locator("#filter-type").select_option("heat")
        complete(page, 2)
        page.locator("#filter-won").select_option("yes")
        complete(page, 1)
        rows(page).first.click()
        expect(page.locator("h1")).to_contain_text("heat the egg")
        steps = page.locator(".episode details")
        assert steps.count() == 2
        steps.nth(1).locator("summary").click(position={"x": 5, "y": 5})
        expect(steps.nth(1)).to_have_attribute("open", "")
        text = steps.nth(1).inner_text()
        assert "return 10.00, advantage +5.00, peers by level: 1, 1" in text
        # Its only peer is the second step of the other rollout, at both levels.
        here = page.locator(".follows .level .chip")
        expect(here).to_have_text(["1/2 +5.00", "2/2 -5.00"] * 2)
        assert page.locator(".follows .chip.here").count() == 2
        # exp(−0.5) = 0.61 and exp(−3) = 0.05: the second token is coloured by 71 %, the first by 30 %.
        tokens = steps.nth(1).locator(".tokens span")
        expect(tokens.nth(0)).to_have_attribute("style", re.compile(r"\b30%"))
        expect(tokens.nth(1)).to_have_attribute("style", re.compile(r"\b71%"))
        expect(tokens.nth(1)).to_have_attribute("title", re.compile(r"probability 4\.98 %"))
        page.locator(".follows .level .chip").nth(1).click()
        expect(page.locator(".episode h2")).to_have_text("Rollout 2")
        page.go_back()
        expect(page.locator(".episode h2")).to_have_text("Rollout 1")


def test_another_estimator_is_chosen_on_the_page(address, browser):
    with opened(browser, f"{address}#rollouts?iteration=1&won=yes&type=heat") as page:
        expect(rows(page).first.locator("td").nth(5)).to_have_text("+5.00")
        page.locator("#credit").select_option("hgpo")
        page.locator("#choices summary").click()
        page.locator("#setting-discount").fill("0.5")
        page.locator("#setting-discount").blur()
        page.locator("#setting-normalization").select_option("mean")
        # (0.5 · 5 + 5) / 2 at both levels.
        expect(rows(page).first.locator("td").nth(5)).to_have_text("+3.75")
        page.locator("#credit").select_option("ppo")
        expect(page.locator("#notice")).to_contain_text("PPO needs the column value")
        page.locator("#credit").select_option("own")
        expect(page.locator("#notice")).to_be_hidden()


def test_sorting_pages_and_keys(address, browser):
    with opened(browser, f"{address}#rollouts") as page:
        complete(page, 12)
        page.locator(".rollouts th button", has_text="advantage").click()
        expect(rows(page).first).to_contain_text("+5.00")
        page.locator(".rollouts th button", has_text="advantage").click()
        expect(rows(page).first).to_contain_text("-5.00")
        page.keyboard.press("j")
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        expect(page.locator(".episode h2")).to_have_text("Rollout 2")
        page.keyboard.press("p")
        expect(page.locator(".episode h2")).to_have_text("Rollout 1")
        page.keyboard.press("/")
        expect(page.locator("#filter-text")).to_be_focused()
        page.keyboard.type("wait")
        page.keyboard.press("Enter")
        complete(page, 6)
        page.keyboard.press("Escape")
        page.keyboard.press("?")
        expect(page.locator("dialog")).to_be_visible()
        page.keyboard.press("Escape")
        page.keyboard.press("1")
        expect(page.locator(".charts figure").first).to_be_visible()


def test_a_page_of_a_hundred(tmp_path, browser):
    write_rollouts(tmp_path / "r.parquet", steps_of(1, wins="1" * 75))
    with served(tmp_path / "r.parquet") as address, opened(browser, address) as page:
        expect(page.locator("#total")).to_have_text("1 – 100 of 150 rollouts")
        assert rows(page).count() == 100
        page.keyboard.press("n")
        expect(page.locator("#total")).to_have_text("101 – 150 of 150 rollouts")
        assert rows(page).count() == 50


def test_a_run_is_followed_while_it_trains(tmp_path, browser):
    folder = write_run(tmp_path / "live", 1)
    with served(folder) as address, opened(browser, f"{address}#rollouts") as page:
        complete(page, 4)
        expect(page.locator("#live")).to_have_class("on")
        write_iteration(folder, 2)
        complete(page, 8)
        expect(page.locator("#live")).to_have_text("2 of 2 iterations")
        expect(page.locator("#live")).not_to_have_class("on")


def test_wrong_credit_is_found_in_two_clicks(tmp_path, browser):
    # HGPO's advantages, but with the wrong sign in iteration 2 for tasks of one type.
    steps = steps_of(2, wins="1100110011")
    right = [5.0 if trajectory[-1] in "014589" else -5.0 for trajectory in steps.trajectory_id.tolist()]
    cool = [task.startswith("0/") for task in steps.task_id.tolist()]
    advantages = [-value if turned else value for value, turned in zip(right, cool, strict=True)]
    kinds = ["cool" if turned else "heat" for turned in cool]
    details = {"advantage": advantages, "task_type": kinds}
    write_rollouts(tmp_path / "r.parquet", steps, details=details)
    recorded = "credit=" + json.dumps({"name": "recorded"})
    with served(tmp_path / "r.parquet") as address, opened(browser, f"{address}#rollouts?{recorded}") as page:
        finding = page.locator(".findings button")
        expect(finding).to_have_count(2)
        # 6 won and 4 lost rollouts: 24 pairs.
        expect(finding.first).to_contain_text("cool: in 100.0 % of 24 pairs")
        finding.first.click()
        complete(page, 10)
        rows(page).first.click()
        expect(page.locator(".warning").first).to_contain_text("2 of the 2 steps of this rollout")


def test_texts_of_models_are_never_html(tmp_path, browser):
    steps = steps_of(1, observation=HOSTILE)
    columns = {name: [HOSTILE] * len(steps) for name in ("task_type", "instruction")}
    folder = write_run(tmp_path / "run", 0)
    path = folder / "rollouts" / "000001.parquet"
    write_rollouts(path, steps, details=columns)
    texts = {
        "action": [HOSTILE] * len(steps),
        "prompt": [HOSTILE] * len(steps),
        "response": [HOSTILE] * len(steps),
    }
    columns = ("task_id", "trajectory_id", "step_index", "state_key", "reward", "observation")
    hostile = [
        {name: str(getattr(steps, name)[row]) + (HOSTILE if name == "task_id" else "") for name in columns}
        | {name: values[row] for name, values in texts.items()}
        for row in range(len(steps))
    ]
    file = tmp_path / "hostile.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in hostile))
    with served(folder, file) as address:
        for source in (0, 1):
            with opened(browser, f"{address}#rollouts?source={source}") as page:
                page.on("dialog", lambda _: pytest.fail("a text was run"))
                expect(rows(page)).to_have_count(4)
                rows(page).first.click()
                page.locator(".episode summary").first.click(position={"x": 5, "y": 5})
                expect(page.locator(".follows .detail pre").first).to_contain_text(HOSTILE)
                with page.expect_download() as saving:
                    page.locator("#save").click()
                saved = tmp_path / f"saved{source}.html"
                saving.value.save_as(saved)
                page.keyboard.press("4")
                expect(page.locator("#reading")).not_to_contain_text("…")
                assert page.locator("img, script:not([src])").count() == 0
            with opened(browser, saved.as_uri()) as page:
                expect(page.locator(".follows .detail pre").first).to_contain_text(HOSTILE)
                assert page.locator("img").count() == 0 and page.locator("script").count() == 2


def test_a_saved_view_opens_offline(address, tmp_path, browser):
    with opened(browser, f"{address}#rollouts?won=no&sort=reward") as page:
        complete(page, 6)
        shown = page.locator("main").inner_text()
        with page.expect_download() as saving:
            page.keyboard.press("s")
        assert saving.value.suggested_filename == "first-rollouts.html"
        saving.value.save_as(tmp_path / "saved.html")
    with opened(browser, (tmp_path / "saved.html").as_uri(), offline=True) as page:
        complete(page, 6)
        assert page.locator("main").inner_text() == shown
        assert "saved 20" in page.locator("#live").inner_text() and page.locator("#save").is_hidden()
        # What was not on the screen is not in the file, and the page says so.
        rows(page).first.click()
        expect(page.locator("#notice")).to_contain_text("only what was on the screen")
        page.keyboard.press("1")
        expect(page.locator(".charts figure").first).to_be_visible()
        assert page.evaluate("performance.getEntriesByType('resource').length") == 0


def test_runs_side_by_side_and_on_the_same_task(run, tmp_path, browser):
    other = write_run(tmp_path / "second", 2, learning_rate=1e-5)
    with served(run, other) as address, opened(browser, address) as page:
        names = page.locator(".charts figure").first.locator(".key > span")
        expect(names).to_have_text(["first ", "second "])
        learning_rate = page.locator(".differs tr", has_text="learning_rate").locator("td")
        assert learning_rate.all_inner_texts()[:3] == ["learning_rate", "0.0006", "1e-05"]
        page.locator("#choices input").first.uncheck()
        expect(page.locator(".charts figure").nth(1).locator(".key > span")).to_have_count(1)
        page.keyboard.press("4")
        expect(page.locator("#reading")).to_have_text("3 tasks in common")
        page.locator("#compare-pair").select_option("train/heat")
        page.locator("#compare-one").select_option("3")
        expect(page.locator(".split h2").first).to_have_text("A: first, iteration 3")
        expect(page.locator(".split h2").nth(1)).to_have_text("B: second, iteration 2")
        cells = page.locator(".both tr").nth(1).locator("td").all_inner_texts()
        # Of two rollouts one gets 10: V is 5, and no advantage remains on average.
        assert cells[1:7] == ["2", "2", "5.00", "5.00", "0.00", "0.00"]
        page.locator(".split .trajectories button").first.click()
        expect(page.locator(".episode h2")).to_have_text("Rollout 1")


@pytest.mark.parametrize("screen", ["curves", "rollouts", "task", "compare"])
def test_nothing_is_wider_than_a_phone(screen, address, browser):
    query = "?iteration_of_task=2&task_of=train/heat&step=1"
    with opened(browser, f"{address}#{screen}{query}", 390, color_scheme="dark") as page:
        page.wait_for_selector("body[data-ready]")
        element = "document.documentElement"
        assert page.evaluate(f"{element}.scrollWidth <= {element}.clientWidth")


def test_a_server_that_has_ended_is_told(tmp_path, browser):
    with served(write_run(tmp_path / "run", 1)) as address:
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector("body[data-ready]")
    expect(page.locator("#notice")).to_contain_text("it may have ended")
    page.close()
