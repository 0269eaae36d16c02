"""The report as people get it: opened from disk in a real browser, wide and narrow, light and dark."""

from __future__ import annotations

import json

import pytest

from telemetry_proc.figures import plots_in
from telemetry_proc.page import render_page
from tests.browser.a_report import full_report
from tests.browser.devtools import MISSING, find_browser, new_page, running_browser
from tests.telemetry.test_page import poisoned

DRAWN = """new Promise((resolve) => {
  const root = document.documentElement;
  const look = () => { if (root.dataset.drawn) { observer.disconnect(); resolve(true); } };
  const observer = new MutationObserver(look);
  observer.observe(root, { attributes: true });
  look();
})"""
SETTLED = "new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => resolve(true))))"
COMPLAINTS = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
COLOURS = """[getComputedStyle(document.body).backgroundColor,
              document.getElementById('plot-error')._fullLayout.font.color]"""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def browser():
    path = find_browser()
    if path is None:
        pytest.skip(MISSING)
    with running_browser(path) as started:
        yield started


@pytest.fixture(scope="module")
def report():
    return json.loads(json.dumps(full_report()))


@pytest.fixture(scope="module")
def file(report, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render_page(report), encoding="utf-8", newline="\n")
    return path


@pytest.fixture
def page(browser):
    with new_page(browser) as tab:
        yield tab


@pytest.fixture(scope="module")
def desk(browser, file):
    """One page that the tests below touch, each in another place."""
    with new_page(browser) as tab:
        yield opened(tab, file)


def opened(page, file, *, width=1280, height=900, phone=False, scheme="light"):
    page.size(width, height, phone=phone)
    page.scheme(scheme)
    page.open(file.as_uri())
    page.run(DRAWN)
    return page


def complaints(page):
    return [said for kind in COMPLAINTS for said in page.happened(kind)]


def requested(page):
    urls = [sent["request"]["url"] for sent in page.happened("Network.requestWillBeSent")]
    return [url for url in urls if not url.startswith(("data:", "blob:"))]


@pytest.mark.parametrize(
    ("width", "height", "phone", "scheme"),
    [(1280, 900, False, "light"), (390, 844, True, "dark")],
    ids=["desk", "phone"],
)
def test_given_a_report_when_opened_then_it_is_all_there_and_quiet(page, file, report, width, height, phone, scheme):
    opened(page, file, width=width, height=height, phone=phone, scheme=scheme)

    assert complaints(page) == []
    assert requested(page) == [file.as_uri()]
    assert page.run(OVERFLOW) == 0
    drawn = page.run("""Object.fromEntries([...document.querySelectorAll('.js-plotly-plot')].map((gd) => {
      const box = gd.querySelector('.main-svg').getBoundingClientRect();
      return [gd.id, { traces: gd.data.length, width: box.width, height: box.height,
                       lines: gd.querySelectorAll('.shapelayer path').length,
                       outside: box.right > innerWidth + 1 }];
    }))""")
    expected = [plot for plot in plots_in(report) if plot.figure is not None]
    assert list(drawn) == [f"plot-{plot.name}" for plot in expected]
    for plot in expected:
        seen = drawn[f"plot-{plot.name}"]
        assert seen["traces"] >= 1, plot.name
        assert min(seen["width"], seen["height"]) > 200, plot.name
        assert not seen["outside"], plot.name
        if plot.section == "timeline":
            assert seen["lines"] >= len(report["plots"]["events"]), plot.name
    colours = page.run(COLOURS)
    assert colours == (["rgb(20, 22, 26)", "#e6e7e9"] if scheme == "dark" else ["rgb(251, 250, 248)", "#1d2126"])


def test_given_plots_over_ticks_when_one_is_zoomed_then_the_others_follow_and_prices_fit(desk):
    ranges = desk.run("""Plotly.relayout('plot-error', { 'xaxis.range': [900, 1100] }).then(() => new Promise(
      (resolve) => setTimeout(() => resolve(['guard', 'prices', 'closeup'].map(
        (name) => document.getElementById('plot-' + name).layout.xaxis.range)), 100)))""")
    fitted = desk.run("document.getElementById('plot-prices').layout.yaxis.range")

    assert ranges[:2] == [[900, 1100]] * 2
    assert ranges[2] != [900, 1100]  # a window of its own
    assert 1.29 < fitted[0] < fitted[1] < 1.32


def test_given_the_cursor_over_one_plot_when_it_moves_then_the_others_show_the_same_tick(desk):
    box = desk.run("""(() => { const gd = document.getElementById('plot-error');
      gd.scrollIntoView({ block: 'start' }); scrollBy(0, -80);
      const plot = gd.querySelector('.nsewdrag').getBoundingClientRect();
      return [plot.left + plot.width / 2, plot.top + plot.height / 2]; })()""")

    desk.call("Input.dispatchMouseEvent", type="mouseMoved", x=box[0] - 5, y=box[1])
    desk.call("Input.dispatchMouseEvent", type="mouseMoved", x=box[0], y=box[1])
    shown = desk.run("""new Promise((resolve) => { let tries = 200;
      const texts = () => ['error', 'guard'].map((name) =>
        document.querySelector(`#plot-${name} .hoverlayer .legendtitletext`)?.textContent ?? '');
      const look = () => (texts().every(Boolean) || !tries--) ? resolve(texts()) : setTimeout(look, 10);
      look(); })""")

    assert shown[0] == shown[1] != ""
    assert complaints(desk) == []


def test_given_the_theme_button_when_pressed_then_page_and_plots_change_and_change_back(desk):
    seen = []
    for _press in range(2):
        desk.run("document.getElementById('theme').click()")
        desk.run(SETTLED)
        seen.append(desk.run(COLOURS))

    assert seen == [["rgb(20, 22, 26)", "#e6e7e9"], ["rgb(251, 250, 248)", "#1d2126"]]


def test_given_the_sliders_of_the_grid_when_moved_then_another_slice_is_drawn(desk, report):
    seen = desk.run("""(() => { const slider = document.getElementById('slice-share');
      slider.value = 2; slider.dispatchEvent(new Event('input'));
      return [document.getElementById('shown-share').textContent,
              document.getElementById('plot-heatmap').data[0].z.length]; })()""")

    assert seen == ["60 %", 8]
    assert complaints(desk) == []


def test_given_an_event_when_chosen_then_its_window_is_drawn(desk, report):
    seen = desk.run("""(() => { const select = document.querySelector('select[data-plot=closeup]');
      select.selectedIndex = select.options.length - 1; select.dispatchEvent(new Event('change'));
      return document.getElementById('plot-closeup').data[0].x0; })()""")

    assert seen == report["plots"]["windows"][-1]["first_tick"]


def test_given_no_clipboard_when_data_is_copied_then_it_lies_selected(desk):
    text = desk.run("""(() => {
      Object.defineProperty(navigator, 'clipboard', { value: { writeText: () => Promise.reject(new Error('no')) } });
      document.querySelector('button.copy[data-plot=error]').click();
      return new Promise((resolve) => setTimeout(() => {
        const area = document.querySelector('#by-hand textarea');
        resolve(area.value.slice(area.selectionStart, area.selectionEnd));
        document.querySelector('#by-hand button').click();
      }, 50)); })()""")

    lines = text.splitlines()
    assert lines[0] == "series\tx\ty\tvalue"
    assert any(line.startswith("error\t301\t-61.5") for line in lines)
    assert desk.run("document.getElementById('by-hand').open") is False


def test_given_hostile_texts_everywhere_when_opened_then_nothing_of_theirs_runs(page, report, tmp_path):
    file = tmp_path / "hostile.html"
    # A script that is no text any more, as if escaping had failed somewhere: the policy has to stop it.
    text = render_page(poisoned(report)).replace("<header", "<script>window.injected=1</script><header", 1)
    file.write_text(text, encoding="utf-8", newline="\n")

    opened(page, file)

    assert page.run("[typeof window.hacked, typeof window.injected]") == ["undefined"] * 2
    assert page.run("document.querySelectorAll('img').length") == 0
    (refused,) = complaints(page)
    assert "Content Security Policy" in refused["entry"]["text"]
    assert requested(page) == [file.as_uri()]


def test_given_long_hostile_texts_when_opened_on_a_phone_then_no_line_is_wider_than_the_screen(page, report, tmp_path):
    file = tmp_path / "hostile.html"
    file.write_text(render_page(poisoned(report)), encoding="utf-8", newline="\n")

    opened(page, file, width=390, height=844, phone=True)

    assert page.run(OVERFLOW) == 0


def test_given_a_dark_screen_when_printed_then_it_is_dark_on_white_in_text_cards_and_plots(page, file):
    opened(page, file, scheme="dark")
    dark = {"name": "prefers-color-scheme", "value": "dark"}
    page.call("Emulation.setEmulatedMedia", media="print", features=[dark])

    assert page.run("""['body', '.card', '.plot text'].map((part) => {
      const style = getComputedStyle(document.querySelector(part));
      return part === '.plot text' ? style.fill : style.backgroundColor;
    })""") == ["rgb(255, 255, 255)", "rgb(255, 255, 255)", "rgb(29, 33, 38)"]


def test_given_a_report_with_nothing_in_it_when_opened_then_it_says_so_quietly(page, tmp_path):
    file = tmp_path / "empty.html"
    file.write_text(render_page({}), encoding="utf-8", newline="\n")

    opened(page, file, width=390, height=844, phone=True)

    assert complaints(page) == []
    assert page.run(OVERFLOW) == 0
    assert page.run("document.querySelectorAll('.none').length") > 8
