"""The page in a browser without a window: what each task shows, by keyboard, dark, in Chinese; text stays text."""

import shutil

import pytest

from tests.serving.page_models import HOSTILE, LABELS, write_page_models

TASKS = ["classification", "embedding", "fill_mask", "generation", "multilabel", "multiple_choice", "next_sentence"]
MODELS = [*TASKS, "question_answering", "regression", "tagging", "talker", "talker_too"]


@pytest.fixture(scope="module")
def savedmodels(tmp_path_factory):
    base = tmp_path_factory.mktemp("page") / "savedmodels"
    write_page_models(base)
    return base


@pytest.fixture(scope="module")
def server(savedmodels, start_server, logged):
    server = start_server(savedmodels, "--trust")
    logged(server, *(f"{name} version 1 is served" for name in MODELS))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with playwright.sync_playwright() as running:
        try:
            browser = running.chromium.launch()
        except playwright.Error:
            names = ("chromium", "chromium-headless-shell", "google-chrome")
            found = next((path for path in map(shutil.which, names) if path), None)
            if found is None:
                pytest.skip("needs Chromium")
            browser = running.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, server):
    """`open_page(**options)`: the page, its models listed; whatever the browser complains of is an error."""
    complaints, contexts = [], []

    def open_it(**options):
        context = browser.new_context(**{"locale": "en-GB", **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(server.url)
        page.wait_for_selector("#model option", state="attached")
        return page

    open_it.complaints = complaints
    yield open_it
    for context in contexts:
        context.close()
    assert complaints == []


def ask(page, model, **texts):
    """Pick a model, type, ask; the answer's text when it is there."""
    if page.input_value("#model") != model:  # a new choice empties the form
        page.select_option("#model", model)
    for name, text in texts.items():
        page.fill(f"[name={name}]", text)
    page.click("#ask [type=submit]")
    page.wait_for_selector("#stop:disabled")
    return page.inner_text("#answer")


def test_all_models_are_listed(open_page):
    page = open_page()
    assert page.locator("#model option").all_inner_texts() == MODELS
    assert "One label · version 1" in page.inner_text("#about")
    assert "TensorFlow Serving" in page.inner_text("footer")


def test_a_model_that_comes_later_is_listed_and_what_is_typed_stays(open_page, savedmodels):
    page = open_page()
    page.select_option("#model", "regression")
    page.fill("[name=text]", "half a sen")
    later, unfinished = savedmodels / "later", savedmodels / ".later"
    shutil.copytree(savedmodels / "classification", unfinished)
    unfinished.rename(later)
    page.wait_for_selector("#model option[value=later]", state="attached")
    assert (page.input_value("#model"), page.input_value("[name=text]")) == ("regression", "half a sen")
    assert page.evaluate("document.activeElement.name") == "text"
    assert "90.0 %" in ask(page, "later", text="good")
    shutil.rmtree(later)
    page.wait_for_selector("#model option[value=later]", state="detached")
    assert page.inner_text("#answer") == "" and page.input_value("#model") == "classification"


def test_labels_and_scores_are_bars(open_page):
    page = open_page()
    shown = ask(page, "classification", text="good 😀")
    assert shown.startswith(LABELS[1]) and "10.0 %" in shown and "90.0 %" in shown
    bars = page.locator(".bar")
    widths = [bars.nth(place).bounding_box()["width"] for place in range(2)]
    assert widths[1] == pytest.approx(9 * widths[0], rel=0.2)
    assert bars.nth(1).get_attribute("aria-label") == "Probability: 90.0 %"
    assert ask(page, "multilabel", text="x").startswith(LABELS[1])
    assert "1.5" in ask(page, "regression", text="sixsix")
    assert "75.0 %" in ask(page, "next_sentence", text="a", text_pair="a")
    assert ask(page, "multiple_choice", question="two", choices="one\ntwo\n\nthree").startswith("two")


def test_entities_are_marked_where_they_stand_though_characters_take_two_units(open_page):
    page = open_page()
    ask(page, "tagging", text="😀👩‍👩👧 is here 😀")
    marks = page.locator("#answer mark")
    own = [mark.evaluate("mark => mark.firstChild.data") for mark in marks.all()]
    assert own == ["😀👩‍👩👧", "😀"]
    assert marks.nth(0).locator("small").inner_text() == "PER"
    assert page.locator("#answer .text").evaluate("p => [...p.childNodes].map(node => node.nodeName)") == [
        "MARK",
        "#text",
        "MARK",
    ]


def test_an_answer_is_marked_in_its_context_or_there_is_none(open_page):
    page = open_page()
    shown = ask(page, "question_answering", context="😀😀名字是 Anna.", question="谁?")
    assert shown.startswith("😀😀名字是") and "62.5 %" in shown
    assert page.locator("#answer mark").inner_text() == "😀😀名字是"
    assert "no answer" in ask(page, "question_answering", context="Anna.", question="")


def test_gaps_are_filled_and_texts_compared(open_page):
    page = open_page()
    shown = ask(page, "fill_mask", text="The [MASK] sat.")
    assert "The cat sat." in shown and "<i>" in shown and "50.0 %" in shown
    assert "[MASK]" in ask(page, "fill_mask", text="no gap")
    assert "-0.5" in ask(page, "embedding", text="a", text_pair="b")


def test_a_text_is_shown_as_it_is_written(open_page):
    page = open_page()
    page.evaluate(
        """() => { window.seen = new Set();
        new MutationObserver(() => seen.add(document.querySelector('#answer').innerText))
            .observe(document.querySelector('#answer'), {childList: true, subtree: true, characterData: true}); }"""
    )
    page.select_option("#model", "generation")
    page.fill("[name=max_new_tokens]", "16")
    shown = ask(page, "generation", text="Count:")
    assert shown.split("\n")[0].endswith("14😀 15😀") and "16 tokens, cut at the limit" in shown
    assert page.evaluate("seen.size") >= 3, "one piece would be no stream"


def test_a_conversation_goes_on_and_can_be_cleared(open_page):
    page = open_page()
    page.select_option("#model", "talker")
    page.fill("[name=max_new_tokens]", "2")
    assert "1:Hello 0😀 1😀" in ask(page, "talker", message="Hello")
    shown = ask(page, "talker", message="Again")
    assert "3:Again 0😀 1😀" in shown and "1:Hello" in shown
    page.get_by_role("button", name="Clear").click()
    assert page.inner_text("#answer") == ""
    assert "1:New" in ask(page, "talker", message="New")


CLEAR = "[...document.querySelectorAll('#ask button')].find(button => button.textContent === 'Clear').click()"
CHOOSE = "const model = document.querySelector('#model'); model.value = {!r}; model.dispatchEvent(new Event('change'))"


@pytest.mark.parametrize(
    "action", [CLEAR, CHOOSE.format("talker"), CHOOSE.format("talker_too")], ids=["clear", "again", "other"]
)
def test_what_is_cleared_during_an_answer_is_gone(open_page, action):
    page = open_page()
    page.select_option("#model", "talker")
    page.fill("[name=max_new_tokens]", "40")
    page.evaluate(
        f"""() => new MutationObserver((_, observer) => {{
            if (!document.querySelector('#answer').textContent.includes('0😀')) return;
            observer.disconnect();
            {action};
            document.body.dataset.cleared = 'yes';
        }}).observe(document.querySelector('#answer'), {{childList: true, subtree: true, characterData: true}})"""
    )
    page.fill("[name=message]", "Hello")
    page.click("#ask [type=submit]")
    page.wait_for_selector("[data-cleared]")
    page.wait_for_selector("#stop:disabled")
    assert (page.inner_text("#answer"), page.inner_text("#error")) == ("", "")
    assert page.input_value("[name=message]") == ""
    assert "1:New" in ask(page, page.input_value("#model"), message="New")


def test_another_language_during_an_answer_leaves_it_to_be_stopped(open_page):
    page = open_page()
    page.select_option("#model", "talker")
    page.evaluate(
        """() => new MutationObserver((_, observer) => {
            if (!document.querySelector('#answer').textContent.includes('0😀')) return;
            observer.disconnect();
            const language = document.querySelector('#language');
            language.value = 'zh';
            language.dispatchEvent(new Event('change'));
            window.stoppable = !document.querySelector('#stop').disabled;
        }).observe(document.querySelector('#answer'), {childList: true, subtree: true, characterData: true})"""
    )
    assert "1:Hello 0😀" in ask(page, "talker", message="Hello")
    assert page.evaluate("window.stoppable")


@pytest.mark.parametrize(
    "model", ["classification", "tagging", "question_answering", "fill_mask", "generation", "talker"]
)
def test_markup_of_a_user_or_a_model_stays_text(open_page, model):
    page = open_page()
    page.select_option("#model", model)
    names = [field.get_attribute("name") for field in page.locator("#ask textarea").all()]
    shown = ask(page, model, **dict.fromkeys(names, f"[MASK] {HOSTILE}<script>document.title='broken'</script>"))
    assert "<" in shown
    assert page.title() == "tfllm"
    assert page.locator("#answer img, #answer script, #answer b b, main i").count() == 0


def test_everything_works_by_keyboard_alone(open_page):
    page = open_page()
    seen = []
    for _ in range(3):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.name"))
    assert seen == ["model", "language", "text"]
    page.keyboard.type("good")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".bar")
    assert "90.0 %" in page.inner_text("#answer")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.type") == "submit"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_it_is_dark_where_the_system_is_and_readable_in_both(open_page):
    luminance = """() => ['backgroundColor', 'color'].map(name => { const [r, g, b] =
        getComputedStyle(document.body)[name].match(/\\d+/g).map(Number); return (r + g + b) / 765; })"""
    light, dark = (open_page(color_scheme=scheme).evaluate(luminance) for scheme in ("light", "dark"))
    assert light[0] > 0.9 and light[1] < 0.2
    assert dark[0] < 0.2 and dark[1] > 0.8


def test_chinese_follows_the_browser_and_a_choice_is_kept(open_page):
    page = open_page(locale="zh-CN")
    assert page.get_attribute("html", "lang") == "zh"
    assert page.get_by_role("button", name="提问").is_visible()
    assert "上下文中没有答案" in ask(page, "question_answering", context="没有", question="")
    page.select_option("#language", "en")
    assert "no answer" in page.inner_text("#answer")
    page.reload()
    page.wait_for_selector("#model option", state="attached")
    assert page.get_by_role("button", name="Ask").is_visible()


BLOCKED = """for (const name of ['localStorage', 'sessionStorage']) Object.defineProperty(window, name, {
    get() { throw new DOMException('Access is denied for this document.', 'SecurityError'); } });"""
FULL = "Storage.prototype.setItem = () => { throw new DOMException('Full.', 'QuotaExceededError'); };"


@pytest.mark.parametrize("script", [BLOCKED, FULL], ids=["blocked", "full"])
def test_a_browser_that_keeps_nothing_shows_the_page_all_the_same(open_page, browser, savedmodels, server, script):
    context = browser.new_context(locale="en-GB")
    page = context.new_page()
    page.on("pageerror", lambda error: open_page.complaints.append(str(error)))
    page.add_init_script(script)
    page.goto(server.url)
    page.wait_for_selector("#model option", state="attached")
    assert "90.0 %" in ask(page, "classification", text="good")
    page.select_option("#language", "zh")
    assert page.get_by_role("button", name="提问").is_visible()
    assert "90.0 %" in ask(page, "classification", text="good")
    context.close()


def test_an_error_is_shown_and_the_next_request_works(open_page):
    page = open_page()
    page.select_option("#model", "generation")
    page.evaluate("document.querySelector('#ask').noValidate = true")
    page.fill("[name=max_new_tokens]", "-1")
    page.click("#ask [type=submit]")
    page.wait_for_selector("#error:not(:empty)")
    assert "max_new_tokens" in page.inner_text("#error")
    assert [one for one in open_page.complaints if "400" in one]
    open_page.complaints.clear()  # the browser notes every status that is not 200
    assert "90.0 %" in ask(page, "classification", text="good")
    assert page.inner_text("#error") == ""


def test_the_page_loads_nothing_from_elsewhere_and_its_policy_forbids_it(browser, server):
    context = browser.new_context()
    page, asked = context.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    response = page.goto(server.url)
    page.wait_for_selector("#model option", state="attached")
    context.close()
    assert all(url.startswith((server.url, "data:")) for url in asked)
    policy = response.headers["content-security-policy"]
    assert "script-src 'self'" in policy and "unsafe" not in policy
