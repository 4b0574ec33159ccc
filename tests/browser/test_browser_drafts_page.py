"""The page beside the drafts of `draft`, opened from the disk: look, choose, make anew, give out lines."""

import json
from fractions import Fraction
from urllib.parse import unquote

import pytest
import torch
from playwright.sync_api import sync_playwright
from support.cli_run import read_events, run
from support.editor import CHROMIUM, requires_browser

from flashvideo_core.cli.review_page import PAGE, write_page
from flashvideo_core.media.video_writer import write_video

pytestmark = [pytest.mark.browser, requires_browser]

HOSTILE = 'a red circle </script><img src=x onerror="document.title=1"> &lt; \' \\ <!--'
PROMPTS = ["the blue square moves down", HOSTILE]
SMALL = ["--frames", "5", "--height", "32", "--width", "48", "--steps", "2"]
SEED = 2**64 - 2  # a number of JavaScript would be rounded, and the one after the next is 0


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def drafts(tmp_path, capsys):
    """The folder of four drafts, two of each prompt."""
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n".join(PROMPTS), "utf-8")
    folder = tmp_path / "some drafts #1"
    command = ["draft", "--prompts", prompts, "--samples", "2", "--seed", SEED, *SMALL, "--output", folder]
    assert run(capsys, *command)[0] == 0
    return folder


@pytest.fixture
def page(browser, drafts):
    """The page; whatever goes wrong in it or asks for the network fails the test."""
    context = browser.new_context(accept_downloads=True, permissions=["clipboard-read", "clipboard-write"])
    opened, complaints = context.new_page(), []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    opened.on("request", lambda asked: None if local(asked.url) else complaints.append(asked.url))
    opened.goto((drafts / PAGE).as_uri())
    yield opened
    context.close()
    assert not complaints


def local(url: str) -> bool:
    return url.startswith(("file://", "blob:"))


def card_of(page, prompt: str, seed: int):
    cards = page.locator("article")
    for number in range(cards.count()):
        card = cards.nth(number)
        if card.get_by_label("Prompt").input_value() == prompt and f"seed {seed} ·" in card.inner_text():
            return card
    raise AssertionError((prompt, seed))


def download(page, section: str, folder) -> str:
    with page.expect_download() as started:
        page.locator(f"#{section} .download").click()
    path = folder / started.value.suggested_filename
    started.value.save_as(path)
    return path


def test_every_draft_plays_with_its_prompt_as_it_was_written(page, drafts):
    assert page.locator("article").count() == 4
    page.wait_for_function("[...document.querySelectorAll('main video')].every((v) => v.currentTime > 0 && !v.paused)")
    shown = [unquote(address) for address in page.locator("main video").evaluate_all("(all) => all.map((v) => v.src)")]
    assert sorted(shown) == sorted(f"file://{path}" for path in drafts.glob("*/draft.mp4"))
    for prompt in PROMPTS:
        for seed in (SEED, SEED + 1):
            card_of(page, prompt, seed)
    assert page.title() == page.locator("h1").inner_text() == drafts.name
    assert page.locator("img").count() == 0


def test_what_is_chosen_survives_a_reload_and_is_refined(page, drafts, capsys):
    first, second = card_of(page, PROMPTS[0], SEED + 1), card_of(page, HOSTILE, SEED)
    first.locator("video").click()
    second.get_by_role("checkbox").check()
    third = card_of(page, HOSTILE, SEED + 1)
    third.get_by_role("checkbox").check()
    third.get_by_role("checkbox").uncheck()
    page.reload()
    assert page.locator("article.chosen").count() == 2
    path = download(page, "chosen", drafts)
    page.locator("#chosen .copy").click()
    page.locator("#chosen .copy", has_text="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == path.read_text("utf-8")
    command = ["refine", "--chosen", path, "--size", "64x96", "--refine-steps", "1", "--json"]
    code, out, _ = run(capsys, *command)
    made = read_events(out)[-1]["clips"]
    assert code == 0 and {(clip["prompt"], clip["seed"]) for clip in made} == {
        (PROMPTS[0], SEED + 1),
        (HOSTILE, SEED),
    }
    assert len(list(drafts.glob("*/final.mp4"))) == 2
    assert all(clip["skipped"] for clip in read_events(run(capsys, *command)[1])[-1]["clips"])


def test_another_seed_and_an_edited_prompt_become_new_drafts_that_join_the_page(page, drafts, capsys):
    card = card_of(page, PROMPTS[0], SEED)
    again = card.locator(".again")
    assert again.inner_text() == "Re-roll, seed 0"  # the last two seeds there are were taken
    again.click()
    assert again.inner_text() == "Re-roll, seed 1"
    card.get_by_label("Prompt").fill(' the "blue" square\n moves up ')
    again.click()
    again.click()
    card.locator(".reset").click()
    again.click()
    page.get_by_label("Take this line away").last.click()
    path = download(page, "again", drafts)
    edited = 'the "blue" square moves up'
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert lines == [
        {"prompt": PROMPTS[0], "seed": 0},
        {"prompt": edited, "seed": SEED},
        {"prompt": edited, "seed": SEED + 1},
    ]
    card.get_by_role("checkbox").check()
    assert run(capsys, "draft", "--prompts", path, *SMALL, "--output", drafts)[0] == 0
    page.reload()
    assert page.locator("article").count() == 7
    assert page.locator("article.chosen").count() == 1 and page.locator("#again li").count() == 0
    assert card_of(page, edited, SEED + 1)
    page.get_by_label("Show drafts with these words").fill("UP blue")
    assert page.locator("article:visible").count() == 2


def test_only_what_is_on_the_screen_is_loaded(browser, drafts):
    """As many drafts as a suite has: the page shows them at once."""
    (one, *_) = drafts.glob("*/draft.safetensors")
    for number in range(300):
        folder = drafts / f"copy-{number}"
        folder.mkdir()
        (folder / one.name).write_bytes(one.read_bytes())
        write_video(folder / "draft.mp4", torch.zeros(1, 32, 48, 3), Fraction(8))
    write_page(drafts, lambda text: None)
    opened = browser.new_page()
    opened.goto((drafts / PAGE).as_uri())
    opened.wait_for_function("document.querySelector('main video').src")
    assert opened.locator("article").count() == 304
    assert opened.locator("main video[src]").count() < 100
    opened.close()
