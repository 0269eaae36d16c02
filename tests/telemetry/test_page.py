"""One file from one object: whatever that object lacks, whoever wrote its texts."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import re
from html.parser import HTMLParser

import plotly.graph_objects
import pytest

from telemetry_proc.figures import plots_in
from telemetry_proc.page import page_body, render_page
from telemetry_proc.page_parts import page_one, shown, table
from telemetry_proc.page_sections import tiles, trip
from tests.browser.a_report import PAGE, full_report

HOSTILE = '</script><script>window.hacked=1</script><img src=x onerror="window.hacked=1">\'&\u2028\x1b[2J'
PAGE_BYTES_MAX = 6_000_000


@pytest.fixture(scope="module")
def report():
    return json.loads(json.dumps(full_report()))


class Elements(HTMLParser):
    """Start tags with their attributes, and the text of scripts."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.found, self.scripts, self.texts = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        (self.scripts if self.found and self.found[-1][0] == "script" else self.texts).append(data)


def poisoned(value):
    """The same object with every text replaced by a hostile one, but for those that say which part is meant."""
    if isinstance(value, dict):
        return {
            key: part if key in {"kind", "role", "side", "state"} else poisoned(part) for key, part in value.items()
        }
    if isinstance(value, list):
        return [poisoned(part) for part in value]
    return HOSTILE if isinstance(value, str) else value


# --- the file


def test_given_the_same_report_when_rendered_twice_then_the_bytes_are_the_same(report):
    assert render_page(report) == render_page(json.loads(json.dumps(report)))


def test_given_a_page_when_read_then_nothing_in_it_points_outside(report):
    elements = Elements(render_page(report))

    for tag, attributes in elements.found:
        for name in ("src", "href", "action", "data", "srcset", "poster"):
            assert attributes.get(name, "#").startswith(("#", "data:,")), (tag, attributes)
    assert "sourceMappingURL" not in "".join(elements.scripts)
    assert "@import" not in render_page(report).split("</style>")[0]


def test_given_a_page_when_its_policy_is_read_then_only_its_own_two_scripts_may_run(report):
    page = render_page(report)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]

    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert len(scripts) == 2
    assert "\r" not in page
    for digest in hashes:
        assert f"'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "Licensed under the MIT license" in scripts[0]


def test_given_a_full_report_when_rendered_then_it_keeps_to_its_size(report):
    assert len(render_page(report).encode()) < PAGE_BYTES_MAX


# --- hostile texts


def test_given_hostile_texts_everywhere_when_rendered_then_none_becomes_an_element(report):
    page = render_page(poisoned(report))
    elements = Elements(page)

    assert page.count("<script") == 3
    assert "img" not in {tag for tag, _attributes in elements.found}
    assert not [name for _tag, attributes in elements.found for name in attributes if name.startswith("on")]
    assert "\x1b" not in page
    assert any("window.hacked=1" in text for text in elements.texts)  # said, not run


def test_given_hostile_texts_when_figures_are_read_back_then_plotly_gets_them_escaped(report):
    embedded = re.search(r'id="figures">(.*?)</script>', render_page(poisoned(report)), re.DOTALL)[1]

    assert "<" not in embedded
    figures = json.loads(embedded)
    assert "<script" not in json.dumps(figures).replace("\\u003c", "<")
    assert "&lt;/script&gt;" in json.dumps(figures["markouts"])


# --- what is missing


def test_given_every_part_missing_or_null_when_rendered_then_there_is_still_a_page(report):
    for name in report:
        page_body({key: value for key, value in report.items() if key != name})
        page_body(report | {name: None})
        page_body(report | {"plots": None, name: {}})
        page_body(report | {"plots": None, name: []})


def test_given_every_part_of_plots_missing_or_null_when_drawn_then_the_others_still_are(report):
    for name in report["plots"]:
        rest = {key: value for key, value in report["plots"].items() if key != name}
        for plots in (rest, rest | {name: None}):
            assert sum(plot.figure is not None for plot in plots_in(report | {"plots": plots})) >= 5


@pytest.mark.parametrize("empty", [{}, None, [], 7])
def test_given_no_report_at_all_when_rendered_then_every_section_says_that_it_has_nothing(empty):
    page = render_page(empty)

    assert page.count("not recorded, or no data.") == sum(plot.section != "across" for plot in plots_in(empty))
    assert "Page one is not in this report." in page
    assert 'id="across"' not in page


def test_given_null_in_every_single_place_when_rendered_then_it_never_crashes(report):
    results = report["what_if"]["results"][:3]
    small = copy.deepcopy(report) | {"plots": None, "what_if": {"results": results, "live": None}}
    for path in list(_paths(small)):
        changed = copy.deepcopy(small)
        _put(changed, path, None)
        page_body(changed)


def test_given_null_in_a_single_event_or_window_when_drawn_then_the_others_still_are(report):
    for listed in ("events", "windows"):
        for key in report["plots"][listed][0]:
            plots = copy.deepcopy(report["plots"])
            plots[listed][0][key] = None
            assert all(plot.figure is not None for plot in plots_in(report | {"plots": plots})), (listed, key)


def _paths(value, before=()):
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = list(enumerate(value))[:1]
    else:
        return
    for key, part in inner:
        yield (*before, key)
        yield from _paths(part, (*before, key))


def _put(value, path, replacement):
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = replacement


# --- figures


def figure(name, report):
    return next(plot.figure for plot in plots_in(report) if plot.name == name)


def test_given_a_full_report_when_drawn_then_every_figure_is_one_that_plotly_accepts(report):
    plots = plots_in(report)

    assert [plot.name for plot in plots if plot.figure is None] == []
    for plot in plots:
        for figure in (plot.figure, *(variant for _name, variant in plot.variants)):
            plotly.graph_objects.Figure({key: figure[key] for key in ("data", "layout")})


def test_given_events_when_drawn_then_each_is_a_line_on_every_plot_over_ticks(report):
    events = report["plots"]["events"]

    for plot in plots_in(report):
        if plot.section == "timeline":
            lines = [shape for shape in plot.figure["layout"]["shapes"] if shape.get("name", "").startswith("event-")]
            assert [line["x0"] for line in lines] == [event["tick"] for event in events], plot.name


def test_given_a_grid_when_drawn_then_never_is_crossed_the_lag_counts_from_the_onset_and_live_is_boxed(report):
    heatmap = figure("heatmap", report)
    heat, crosses = heatmap["data"]

    row, column = heat["y"].index("25"), heat["x"].index("7")
    assert heat["z"][row][column] == 37
    assert set(crosses["x"]) == {"9"}
    (box,) = heatmap["layout"]["shapes"]
    assert (box["x0"], box["y0"]) == (column - 0.5, row - 0.5)
    assert heatmap["slices"]["start"] == [1, 1]


def test_given_a_setting_that_was_not_computed_when_drawn_then_it_is_not_called_never(report):
    kept = [row for row in report["what_if"]["results"] if row["lookback_ticks"] > 10 or row["bias_threshold_bps"] < 9]
    heatmap = figure("heatmap", report | {"what_if": {"results": kept}})

    crosses = heatmap["data"][1]
    assert ("9", "10") not in set(zip(crosses["x"], crosses["y"], strict=True))
    assert heatmap["slices"]["z"][0][0][0][-1] is False


def test_given_a_point_between_two_gaps_when_drawn_then_it_is_a_dot(report):
    lonely = {"tick": [1, 2, 3, 4, 5], "bps": [1.0, None, 2.0, None, 3.0], "offset_s": [0, None, 8, None, 16]}
    error = figure("error", report | {"plots": report["plots"] | {"error": lonely}})

    (dots,) = [trace for trace in error["data"] if trace["mode"] == "markers"]
    assert (dots["x"], dots["y"]) == ([1, 3, 5], [1.0, 2.0, 3.0])


# --- text


def tiles_of(report):
    """The tiles' values and notes."""
    return re.findall(r"<dt>(.*?)</dt><dd>(.*?)<small>(.*?)</small>", tiles(report))


UNMET = {"explanation": {"ladder": {"error": None}, "floor": None}, "ticks": {"missing": 0}, "guard": {"hiding": []}}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "never"),
        ({"ticks": {"missing": 3}}, "not on what is stored"),
        ({"guard": {"hiding": ["3 missing ticks"]}}, "not on what is stored"),
        ({"explanation": None}, "not known"),  # withheld, not recorded, or no error at all
    ],
)
def test_given_no_exceedance_on_record_when_tiled_then_never_is_only_said_where_nothing_can_hide_one(changed, said):
    report = UNMET | changed

    assert tiles_of(report)[1][1] == said
    assert f"<td>{said}</td>" in trip(report | {"guard": {"ladder": {"error": None}, **report["guard"]}})


def test_given_a_trip_faster_than_a_clean_shift_when_tiled_then_no_shorter_time_is_called_impossible():
    ladder = {"lag_ticks": 21, "lag_s": 88.0}
    lag = tiles_of({"explanation": {"ladder": ladder, "floor": {"lag_ticks": 24}}})[2]

    assert lag == ("From there to the trip", "21 ticks", "1 m 28 s; a clean shift takes 24 ticks")


def test_given_page_one_when_laid_out_then_sentences_are_whole_and_columns_keep_their_spaces():
    laid_out = page_one(PAGE)

    assert "minimum this window allows for an 8 bps shift. Last condition met: mean.</p>" in laid_out
    assert "<h3>GUARD</h3>" in laid_out
    assert "(a) |error| &gt;= 7 bps       tick   1,001" in laid_out
    assert laid_out.count("<pre") == 1


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("mean_bps", 1.239, "1.24"),
        ("ticks", 18204, "18,204"),
        ("share_pct", 2.4667, "2.5"),
        ("anything", None, "–"),
        ("markout_interval_bps", {"low": -1.0, "high": None}, "-1.00 … –"),
        ("tail", [1.5, 2.5], "1.5, 2.5"),
        ("enabled", True, "yes"),
        ("name", "a<b", "a<b"),
    ],
)
def test_given_a_value_when_shown_then_its_key_says_how(key, value, text):
    assert shown(key, value) == text


def test_given_a_table_when_made_then_numbers_stand_to_the_right_and_text_is_escaped():
    made = table("T<", ["name", "n"], [["<b>", "1"], ["c", "–"]])

    assert "T&lt;" in made
    assert '<td>&lt;b&gt;</td><td class="n">1</td>' in made
