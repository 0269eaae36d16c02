"""The command `report` at its edges: where the page may go, what a saved report may be, what is read at all."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from telemetry_proc import saved_report
from telemetry_proc.definitions import DEFINITIONS
from telemetry_proc.plot_columns import PLOT_COLUMNS
from telemetry_proc.reading import reading
from telemetry_proc.report import build_report
from telemetry_proc.sessions import pick
from tests.telemetry.recorded_session import calm_then_drag, opened, store_session

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "kedge.db"
    with opened(path) as conn:
        store_session(conn, calm_then_drag(), uid="20261120T140209Z-7f3a")
        store_session(conn, [1.0, None, 2.0], uid="20261121T000000Z-aaaa", started_at="2026-11-21T00:00:00.000Z")
    return path


@pytest.fixture(scope="module")
def whole(path):
    """What `report 1 --json` gives, as text."""
    line = [sys.executable, "-m", "telemetry_proc", "report", "1", "--db", str(path), "--json"]
    return subprocess.run(line, cwd=ROOT, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def saved(tmp_path, whole):
    """Writes a report.json, with what is given put over its top level."""

    def save(**parts):
        file = tmp_path / "report.json"
        file.write_text(json.dumps(json.loads(whole) | parts), encoding="utf-8")
        return file

    return save


# --- the page as a file


def test_given_an_output_when_reported_then_the_terminal_has_the_page_too_and_the_same_again_gives_the_same_bytes(
    run, path, tmp_path
):
    page = tmp_path / "r.html"
    code, out, err = run("report", "1", "--db", path, "-o", page)
    first = page.read_bytes()

    assert (code, err) == (0, "")
    assert out.endswith(f"\nHTML report: {page}\n")
    assert out.startswith(run("report", "1", "--db", path)[1])
    assert first.startswith(b"<!doctype html>")
    assert run("report", "1", "--db", path, "-o", page)[0] == 0
    assert page.read_bytes() == first
    assert [file.name for file in tmp_path.iterdir()] == ["r.html"]


@pytest.mark.parametrize(
    ("output", "complaint"),
    [
        ("missing/r.html", "there is no directory"),
        ("directory", "is a directory"),
        (".", "is a directory"),
        ("file/r.html", "there is no directory"),
        ("n" * 300 + "/r.html", ""),
        ("n" * 300, ""),
    ],
)
def test_given_a_place_where_no_page_can_be_when_reported_then_one_line_and_nothing_is_left(
    run, path, saved, tmp_path, output, complaint
):
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_text("kept")
    file = saved()
    before = sorted(tmp_path.rglob("*"))
    for source in (("1", "--db", path), ("--from", file)):
        code, _, err = run("report", *source, "-o", tmp_path / output)
        assert code in {1, 2}
        assert len(err.splitlines()) == 1
        assert complaint in err
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_given_a_full_disk_when_the_page_is_written_then_one_line_and_the_terminal_still_had_its_page(run, path):
    code, out, err = run("report", "1", "--db", path, "-o", "/dev/full")

    assert code == 1
    assert "ANSWERS" in out
    assert err == "error: /dev/full: cannot write: No space left on device\n"


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="needs /dev/null")
def test_given_a_device_when_the_page_is_written_then_it_is_written_to_and_not_replaced(run, path):
    assert run("report", "1", "--db", path, "-o", "/dev/null")[0] == 0
    assert not Path("/dev/null").is_file()


def test_given_the_database_as_output_when_reported_then_it_is_not_written_over(run, path, tmp_path):
    link = tmp_path / "link.html"
    link.symlink_to(path)
    before = path.read_bytes()
    for output in (path, link):
        code, out, err = run("report", "1", "--db", path, "-o", output)
        assert (code, out) == (2, "")
        assert "is the file that is read" in err
    assert path.read_bytes() == before


# --- from a saved report


def test_given_a_saved_report_when_shown_then_terminal_page_and_object_are_the_same_bytes(run, path, whole, tmp_path):
    file, direct, again = tmp_path / "report.json", tmp_path / "direct.html", tmp_path / "again.html"
    file.write_text(whole, encoding="utf-8")
    said = run("report", "1", "--db", path, "-o", direct)[1]

    code, out, err = run("report", "--from", file, "-o", again)

    assert (code, err) == (0, "")
    assert out.replace(str(again), str(direct)) == said
    assert again.read_bytes() == direct.read_bytes()
    assert run("report", "--from", file, "--json") == (0, whole, "")


NESTED = '{"schema_version": 1, "session": {}, "notes": ' + "[" * 500 + "]" * 500 + "}"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "does not read as JSON"),
        (b"not json", "does not read as JSON"),
        (b'{"schema_version": 1, "session": {', "does not read as JSON"),
        (b'{"schema_version": 1, "session": {}, "x": NaN}', "does not read as JSON"),
        (b'{"schema_version": 1, "session": {}, "x": -Infinity}', "does not read as JSON"),
        (b'{"schema_version": 1, "session": {}, "x": 1e999}', "too large a number"),
        (b'{"schema_version": 1, "session": {}, "x": ' + b"9" * 400 + b"}", "too large a number"),
        (b'{"schema_version": 1, "session": {}, "x": ' + b"9" * 9000 + b"}", "too large a number"),
        (b"[1, 2]", "no schema_version and session"),
        (b"null", "no schema_version and session"),
        (b'"text"', "no schema_version and session"),
        (b"{}", "no schema_version and session"),
        (b'{"schema_version": 1}', "no schema_version and session"),
        (b'{"schema_version": true, "session": {}}', "no schema_version and session"),
        (b'{"schema_version": "1", "session": {}}', "no schema_version and session"),
        (b'{"schema_version": 1, "session": []}', "no schema_version and session"),
        (b'{"schema_version": 2, "session": {}}', "schema_version 2 is newer than this program's 1"),
        (b"[" * 100_000, "nested too deeply"),
        (NESTED.encode(), "nested too deeply"),
        (b"\xff\xfe\x00", "not UTF-8"),
    ],
)  # fmt: skip
def test_given_a_file_that_is_no_report_when_shown_then_one_line_and_2(run, tmp_path, content, complaint):
    file = tmp_path / "r.json"
    file.write_bytes(content)

    code, out, err = run("report", "--from", file, "-o", tmp_path / "r.html")

    assert (code, out) == (2, "")
    assert err.startswith(f"error: {file}: ")
    assert complaint in err
    assert len(err.splitlines()) == 1
    assert sorted(found.name for found in tmp_path.iterdir()) == ["r.json"]


def test_given_a_huge_file_when_shown_then_it_is_refused_unread(run, tmp_path, monkeypatch):
    monkeypatch.setattr(saved_report, "BYTES_MAX", 10)
    (tmp_path / "r.json").write_text('{"schema_version": 1, "session": {}}')

    code, _, err = run("report", "--from", tmp_path / "r.json")

    assert code == 2
    assert "larger than 10 bytes" in err


def test_given_a_report_without_its_parts_when_shown_then_the_page_says_what_is_missing(run, tmp_path):
    file = tmp_path / "r.json"
    file.write_text('{"schema_version": 1, "session": {"number": 41}}')
    code, out, err = run("report", "--from", file, "-o", tmp_path / "r.html")

    assert (code, err) == (0, "")
    assert out.startswith("Page one is not in this report.json.\n")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Page one is not in this report." in page
    assert "The distribution is not in this report." in page


def test_given_hostile_texts_when_shown_then_no_escape_reaches_the_terminal_and_no_tag_the_page(run, saved, tmp_path):
    bad = "</script><script>alert(1)</script>\x1b[2J\r\n\ud800"
    file = saved(page=[bad, 7, None], notes=[bad], command=bad, definitions={bad: bad}, trips=[{"breaker": bad}])
    code, out, err = run("report", "--from", file, "-o", tmp_path / "r.html")

    assert (code, err) == (0, "")
    assert "\x1b" not in out
    assert "\r" not in out
    assert out.splitlines()[1:3] == ["7", "None"]
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in page
    assert "\x1b" not in page


def test_given_parts_of_the_wrong_kind_when_shown_then_a_page_or_one_line_but_never_a_traceback(run, saved, tmp_path):
    rng = random.Random(4)
    junk = [None, True, "text", -1, 1e300, [], {}, [1], {"a": 1}, [[1, 2]], [None], ["a", {}]]
    whole = json.loads(saved().read_text())
    for part in rng.sample(sorted(whole.keys() - {"schema_version", "session"}), 12):
        file = saved(**{part: rng.choice(junk)})
        code, _, err = run("report", "--from", file, "-o", tmp_path / "r.html")
        assert code in {0, 2}, part
        assert len(err.splitlines()) == (code != 0)


@pytest.mark.parametrize(
    ("path_to", "bad"),
    [
        (("plots", "events", 0, "kind"), []),
        (("plots", "error", "offset_s", 0), {}),
        (("plots", "mean", "tick"), [None]),
        (("plots", "coverage", "to_tick", 0), [[1]]),
        (("plots", "autocorrelation", "rho", 1), {}),
        (("plots", "exceedance", "bps"), [None]),
        (("explanation", "ladders"), {"a": 1}),
        (("error", "zones", 0), "text"),
    ],
)
def test_given_a_value_of_the_wrong_kind_deep_inside_when_shown_then_a_page_or_one_line(
    run, saved, tmp_path, path_to, bad
):
    file = saved()
    whole = json.loads(file.read_text())
    inside = whole
    for key in path_to[:-1]:
        inside = inside[key]
    inside[path_to[-1]] = bad
    file.write_text(json.dumps(whole))

    code, out, err = run("report", "--from", file, "-o", tmp_path / "r.html")

    assert code in {0, 2}
    assert len(err.splitlines()) == (code != 0)
    assert (tmp_path / "r.html").exists() is bool(out) is (code == 0)


def test_given_a_saved_mismatch_when_shown_then_the_page_and_4_as_when_it_was_made(run, saved, whole):
    guard = json.loads(whole)["guard"]
    guard["disagreement"] = {"tick": 9, "what": "guard_mean_bps", "recorded": 0.5, "recomputed": 1.0}
    code, out, err = run("report", "--from", saved(guard=guard))

    assert code == 4
    assert "ANSWERS" in out
    assert err.endswith("disagrees with the record at tick 9: guard_mean_bps recorded 0.5, recomputed 1.0\n")


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (("--compare", "1,2"), "--from and --compare: one of them"),
        (("1",), "no SESSION beside it"),
        (("--db", "kedge.db"), "no --db beside it"),
        (("-o", "report.json"), "is the file that is read"),
    ],
)
def test_given_a_saved_report_and_what_contradicts_it_when_typed_then_2(run, saved, monkeypatch, argv, complaint):
    file = saved()
    monkeypatch.chdir(file.parent)
    before = file.read_bytes()

    code, out, err = run("report", "--from", file, *argv)

    assert (code, out) == (2, "")
    assert complaint in err
    assert file.read_bytes() == before


# --- what is read, and what comes out


def statements(path, *, with_plots):
    """The SQL that a report of session 1 asks."""
    asked = []
    with reading(path) as conn:
        conn.exec_trace = lambda _cursor, sql, _bindings: asked.append(sql) or True
        built = build_report(conn, pick(conn, "1"), with_plots=with_plots)
        conn.exec_trace = None
    return built, asked


@pytest.mark.parametrize("with_plots", [True, False])
def test_given_a_report_when_nobody_asks_for_plots_then_their_columns_are_not_read(path, with_plots):
    built, asked = statements(path, with_plots=with_plots)
    balances = [sql for sql in asked if "base_balance" in sql or "amm_price" in sql]

    assert set(PLOT_COLUMNS) >= {"base_balance", "amm_price"}
    assert bool(balances) is with_plots
    assert (built.plots is not None) is with_plots


def test_given_a_report_when_as_json_then_every_key_of_the_object_is_described(whole):
    found = json.loads(whole, parse_constant=pytest.fail)
    described = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("calibration*.md"))

    assert found["definitions"] == DEFINITIONS
    assert found["page"][4].startswith("ANSWERS  Were the thresholds right? NOT ENOUGH DATA")
    for key in found:
        assert f"| `{key}` |" in described, key


def test_given_the_command_in_a_report_when_typed_then_it_makes_the_page_again(run, path, whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = json.loads(whole)["command"].split()

    assert words[0] == "kedge-telemetry"
    assert run(*words[1:])[0] == 0
    assert (tmp_path / "report.html").is_file()


def test_given_a_breaker_event_with_nan_when_reported_as_json_then_null(run, tmp_path):
    path = tmp_path / "k.db"
    with opened(path) as conn:
        store_session(conn, calm_then_drag())
        conn.execute("UPDATE circuit_breaker_events SET context_json = replace(context_json, '7.', 'NaN, \"x\": 7.')")
    code, out, _ = run("report", "--db", path, "--json")

    assert code == 0
    assert json.loads(out, parse_constant=pytest.fail)["trips"][0]["context"]["mean_error_bps"] is None


def test_given_a_database_in_use_when_reported_then_it_is_not_changed(run, path):
    before = path.read_bytes()
    assert run("report", "1", "--db", path)[0] == 0
    assert path.read_bytes() == before
    with apsw.Connection(str(path)) as conn:
        assert conn.pragma("integrity_check") == "ok"
    conn.close()
