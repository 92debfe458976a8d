"""The panel, as somebody uses it."""

import json
import os
import re
import subprocess
import time
from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import BINARY, Server, opened, state, study, write
from playwright.sync_api import expect

BROKEN = "#/e/" + quote("troubles/rag_broken_8bit", safe="")


def go(page, where):
    page.goto("/" + where)
    expect(page.locator("main h1")).to_be_visible()


def clipboard(page):
    return page.evaluate("navigator.clipboard.readText()")


def test_from_the_studies_to_an_experiment_and_back_with_links(page, shot):
    expect(page.get_by_role("heading", name="Studies")).to_be_visible()
    card = page.locator(".card", has_text="real")
    expect(card).to_contain_text("1 failed")
    expect(card).to_contain_text("48 of 72 questions answered")
    shot(page, "studies")
    card.get_by_role("link", name="real").click()
    expect(page.get_by_role("heading", name=re.compile("1 failed experiment, 1 cause"))).to_be_visible()
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.filter(has_text="missing_model")).to_contain_text("failed")
    expect(rows.filter(has_text="8bit")).to_contain_text("24/24")
    shot(page, "study")
    rows.get_by_role("link", name="missing_model").click()
    expect(page.get_by_role("heading", name=re.compile("^missing_model"))).to_be_focused()
    page.get_by_label("Breadcrumbs").get_by_role("link", name="real").click()
    expect(rows).to_have_count(3)
    page.go_back()
    expect(page.get_by_role("heading", name=re.compile("^missing_model"))).to_be_visible()


def test_experiments_are_filtered_sorted_and_paged_and_the_address_keeps_it(page):
    go(page, "#/s/troubles")
    rows = page.locator("tbody tr")
    expect(page.locator(".pages")).to_contain_text("Page 1 of 2, 62 experiments")
    expect(rows).to_have_count(50)
    page.get_by_role("button", name="Next").click()
    expect(rows).to_have_count(12)
    page.keyboard.press("/")
    page.keyboard.type("broken")
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("CUDA out of memory")
    expect(page).to_have_url(re.compile("q=broken"))
    page.reload()
    expect(page.get_by_label("Filter")).to_have_value("broken")
    expect(rows).to_have_count(1)
    page.get_by_label("Filter").fill("no such thing")
    expect(page.get_by_text("No experiment fits the filter.")).to_be_visible()
    page.get_by_label("Filter").fill("")
    page.get_by_label("Phase").select_option("failed")
    expect(rows).to_have_count(1)
    page.get_by_label("Phase").select_option("")
    page.get_by_role("columnheader", name="Errors").get_by_role("button").click()
    expect(rows.first).to_contain_text("rag_broken_8bit")
    expect(page.get_by_role("columnheader", name="Errors")).to_have_attribute("aria-sort", "descending")
    # Different errors of its log, and questions lost.
    expect(rows.first.locator("td[data-label=Errors]")).to_contain_text("3 2 lost")


def test_an_experiment_says_what_when_why_and_what_to_change(page, shot):
    go(page, BROKEN)
    errors = page.locator(".errors")
    expect(errors).to_contain_text("oom_eval")
    expect(errors).to_contain_text("confidence")
    expect(errors.locator(".suggestions li").first).to_be_visible()
    # Equal errors are one, with their count.
    kinds = errors.locator(".kinds > li")
    expect(kinds.filter(has_text="invalid configuration argument").locator("summary .badge").first).to_have_text("3×")
    # Each kind has its row of marks.
    timeline = errors.locator(".timeline")
    row = timeline.locator("li", has_text=re.compile("invalid configuration"))
    expect(row.locator("rect")).to_have_count(3)
    left = [float(rect.get_attribute("x")) for rect in row.locator("rect").all()]
    assert left == sorted(left) and left[2] > left[1] > left[0]
    shot(page, "experiment")


def test_chained_causes_are_steps_with_the_root_first_and_frames_collapse(page, shot):
    go(page, BROKEN)
    steps = page.locator(".steps > li")
    expect(steps).to_have_count(2)
    expect(steps.nth(0)).to_contain_text("KeyError")
    expect(steps.nth(0).locator(".badge")).to_have_text("root")
    expect(steps.nth(1)).to_contain_text("while that was handled")
    expect(steps.nth(1)).to_contain_text("OutOfMemoryError")
    keyword = steps.nth(0).locator(".code-comment")
    expect(keyword).to_have_text("# may be missing")
    frames = steps.nth(1).locator(".frames")
    expect(frames).to_be_visible()
    expect(frames.locator("li.library")).to_have_count(1)
    steps.nth(1).locator("summary").click()
    expect(frames).to_be_hidden()
    steps.nth(1).locator("summary").press("Enter")
    expect(frames).to_be_visible()
    # What was collapsed stays so when the page is refreshed.
    steps.nth(1).locator("summary").click()
    page.keyboard.press("r")
    page.wait_for_timeout(500)
    expect(frames).to_be_hidden()
    steps.nth(0).scroll_into_view_if_needed()
    shot(page, "traceback")


def test_a_place_is_copied_or_opened_as_chosen(page):
    go(page, BROKEN)
    place = page.locator(".steps").get_by_text("/app/src/evaluate.py:142")
    place.click()
    expect(page.locator("#status")).to_have_text("Copied /app/src/evaluate.py:142")
    assert clipboard(page) == "/app/src/evaluate.py:142"
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("A click on file:line").select_option("vscode")
    page.get_by_role("button", name="Close").click()
    expect(place).to_have_attribute("href", "vscode://file/app/src/evaluate.py:142")


def test_the_full_report_is_copied(page):
    go(page, BROKEN)
    page.get_by_role("button", name="Copy full report").click()
    expect(page.locator("#status")).to_have_text("Copied the full report")
    report = clipboard(page)
    assert report.startswith("## rag_broken_8bit")
    assert "torch.OutOfMemoryError" in report and "### Traceback" in report
    page.locator("details", has_text="As it stands in the log").locator("summary").click()
    page.get_by_role("button", name="Copy", exact=True).click()
    expect(page.locator("#status")).to_have_text("Copied the traceback")
    assert clipboard(page).startswith("Traceback (most recent call last):")


def test_the_log_jumps_to_the_line_of_an_error(page, shot):
    go(page, BROKEN)
    kind = page.locator(".kinds > li").filter(has_text="invalid configuration argument")
    if not kind.locator(".lines").is_visible():
        kind.locator("summary").click()
    line = kind.locator(".lines button").nth(2)
    number = line.text_content()
    line.click()
    target = page.locator(".log .target")
    expect(target).to_contain_text("invalid configuration argument at line 388")
    expect(target.locator(".line-number")).to_have_text(number)
    expect(target).to_be_in_viewport()
    shot(page, "log")
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".log li").first).to_contain_text("step 0")
    page.get_by_role("spinbutton", name="Line").fill("5")
    page.get_by_role("button", name="Go", exact=True).click()
    expect(page.locator(".log .target .line-number")).to_have_text("5")


def test_predictions_show_those_that_failed(page, shot):
    go(page, BROKEN)
    page.get_by_role("tab", name="Predictions").click()
    records = page.locator(".kinds > li")
    expect(records).to_have_count(5)
    page.get_by_label("only those that failed").check()
    expect(records).to_have_count(2)
    records.first.locator("summary").click()
    expect(records.first).to_contain_text("CUDA out of memory")
    expect(records.first.locator("pre")).to_contain_text("Question 3")
    shot(page, "predictions")
    page.get_by_label("only those that failed").uncheck()
    page.get_by_label("Filter").fill("what is 2")
    expect(records).to_have_count(1)


def test_markup_in_logs_questions_and_answers_stays_text(page):
    go(page, BROKEN)
    expect(page.locator(".errors")).to_contain_text("<script>window.hacked = true</script>")
    for tab in ["Predictions", "Log", "Details"]:
        page.get_by_role("tab", name=tab).click()
        page.wait_for_timeout(300)
    page.get_by_role("tab", name="Predictions").click()
    for summary in page.locator(".kinds > li summary").all():
        summary.click()
    expect(page.locator("#panel")).to_contain_text("<script>window.hacked")
    assert page.evaluate("window.hacked") is None
    assert page.locator("main script, main img").count() == 0
    # Nothing but the server's own files may run, whatever gets into the page.
    page.evaluate("""() => { const script = document.createElement("script"); script.textContent = "window.hacked = true"; document.body.append(script); }""")
    assert page.evaluate("window.hacked") is None
    refused = [text for text in page.wrong if "Content Security Policy" in text]
    assert refused
    page.wrong[:] = [text for text in page.wrong if text not in refused]


def test_a_run_is_seen_live(page, server):
    path = study(server.root, "live", 4000, batch=1)
    expect(page.locator("#live")).to_have_text("live")
    # Slow enough to be looked at on any machine.
    slow = os.environ | {"FAILPOINTS": "worker::slow=sleep(100)"}
    runs = subprocess.Popen([BINARY, "run", str(path)], env=slow, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        card = page.locator(".card", has_text="live").filter(has=page.get_by_role("link", name="live", exact=True))
        expect(card).to_be_visible(timeout=30_000)
        card.get_by_role("link", name="live", exact=True).click()
        row = page.locator("tbody tr").filter(has=page.get_by_role("link", name=re.compile("^direct_.*[^b]$"))).first
        seen = set()
        until = time.time() + 120
        while time.time() < until and len(seen) < 4:
            text = row.locator("td[data-label=Questions]").text_content(timeout=30_000)
            seen.add(text)
            page.wait_for_timeout(300)
        assert len(seen) >= 4, f"the page never moved: {seen}"
    finally:
        runs.terminate()
        runs.wait(60)
    expect(page.locator("tbody .badge", has_text="interrupted").first).to_be_visible(timeout=30_000)


def test_an_experiment_that_fails_while_it_is_looked_at_says_so(page, server):
    name = "turns"
    at = server.root / "troubles" / name
    write(at / "state.json", state("generating", 1, 5))
    write(at / "experiment.log", "[2026-03-01 10:00:00] [m] [INFO] [Main] fine\n")
    go(page, "#/e/" + quote(f"troubles/{name}", safe="") + "?tab=log")
    expect(page.locator("#live")).to_have_text("live")
    expect(page.locator(".log")).to_contain_text("fine")
    with open(at / "experiment.log", "a") as file:
        file.write("[2026-03-01 10:00:09] [m] [ERROR] [Main] ValueError: no such answer\n")
    write(at / "state.json", state("failed", 1, 5, error="ValueError: no such answer"))
    with open(server.root / "troubles" / "events.jsonl", "a") as file:
        file.write(json.dumps({"ts": "2026-03-01T10:00:10Z", "event": "experiment_failed", "experiment": name}) + "\n")
    expect(page.locator(".headline")).to_have_text("ValueError: no such answer")
    expect(page.locator(".log li.error")).to_contain_text("no such answer")


def test_refresh_asks_again_without_an_event(page, server):
    at = server.root / "silent" / "one"
    write(server.root / "silent" / "study.yaml", "name: silent\n")
    write(at / "state.json", state("generating", 1, 5))
    go(page, "#/e/" + quote("silent/one", safe=""))
    expect(page.locator(".summary")).to_contain_text("1/5")
    write(at / "state.json", state("failed", 1, 5, error="it broke"))
    page.get_by_role("button", name="Refresh").click()
    expect(page.locator(".headline")).to_have_text("it broke")


def test_states_without_data_say_what_to_do(browser, tmp_path):
    server = Server(tmp_path)
    try:
        for page in opened(browser, server.url):
            expect(page.locator(".empty")).to_contain_text("ragicamp run study.yaml")
            page.goto("/#/s/nothing")
            expect(page.get_by_role("alert")).to_contain_text("there is no study 'nothing'")
            page.get_by_role("link", name="All studies").click()
            expect(page.locator(".empty")).to_be_visible()
    finally:
        server.end()


def test_a_server_that_went_away_is_named_and_tried_again(browser, tmp_path):
    server = Server(tmp_path)
    for page in opened(browser, server.url):
        expect(page.locator("#live")).to_have_text("live")
        server.end()
        expect(page.locator("#live")).to_have_text("reconnecting")
        page.get_by_role("button", name="Refresh").click()
        expect(page.get_by_role("alert")).to_contain_text("The server does not answer")
        page.wrong.clear()


def test_a_token_is_asked_for_and_kept(browser, root, tmp_path):
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    server = Server(root, "--token-file", str(token))
    try:
        for page in opened(browser, server.url):
            field = page.get_by_label(re.compile("^Token"))
            field.fill("wrong")
            field.press("Enter")
            expect(field).to_have_value("")
            field.fill("s3cret")
            field.press("Enter")
            expect(page.get_by_role("heading", name="Studies")).to_be_visible()
            expect(page.locator("#live")).to_have_text("live")
            page.reload()
            expect(page.get_by_role("heading", name="Studies")).to_be_visible()
            assert "s3cret" not in page.url
    finally:
        server.end()


@pytest.mark.parametrize("where", ["", "#/s/troubles", BROKEN, BROKEN + "?tab=predictions", BROKEN + "?tab=log", BROKEN + "?tab=details"])
def test_a_phone_shows_everything_without_scrolling_sideways(phone, shot, where):
    go(phone, where)
    phone.wait_for_timeout(400)
    wide = phone.evaluate("document.documentElement.scrollWidth")
    assert wide <= 375, f"{wide} pixels wide"
    for button in phone.locator("main button:visible, header button:visible").all()[:20]:
        assert button.bounding_box()["height"] >= 24
    name = re.sub(r"\W+", "-", where.split("%2F")[-1]).strip("-") or "studies"
    shot(phone, f"phone-{name}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("where", ["", "#/s/troubles", "#/s/real", BROKEN, BROKEN + "?tab=predictions", BROKEN + "?tab=log", BROKEN + "?tab=details", "#/s/nothing"])
def test_axe_finds_nothing_serious(page, shot, scheme, where):
    page.emulate_media(color_scheme=scheme)
    go(page, where)
    page.wait_for_timeout(400)
    found = Axe().run(page).response["violations"]
    serious = [(one["id"], one["nodes"][0]["html"], one["nodes"][0]["failureSummary"]) for one in found if one["impact"] in ("serious", "critical")]
    assert serious == []
    if where == BROKEN:
        shot(page, f"experiment-{scheme}")


def test_tabs_and_frames_are_reached_by_keyboard(page):
    go(page, BROKEN)
    page.get_by_role("tab", name="Errors").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Predictions")).to_be_focused()
    expect(page.get_by_role("tab", name="Predictions")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#panel")).to_contain_text("only those that failed")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".steps")).to_be_visible()
    # Every stop of the tab key is visible and has a ring.
    for _ in range(15):
        page.keyboard.press("Tab")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        tag = page.evaluate("document.activeElement.tagName")
        assert outline != "none" or tag == "BODY", page.evaluate("document.activeElement.outerHTML")
