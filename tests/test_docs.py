"""Documents say what is so: the table page is generated, every quoted command line is one that parses."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import click
import pytest

from docs.generate import PAGE, telemetry_page
from shared.records import KINDS, fields_of
from telemetry_proc.tables import TABLES

ROOT = Path(__file__).parents[1]
PAGES = sorted(path for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")] if path.is_file())
PROGRAMS = {"kedge-engine": "engine_proc.__main__", "kedge-telemetry": "telemetry_proc.__main__"}
STARTED_BY = {"python -m engine_proc": "kedge-engine", "python -m telemetry_proc": "kedge-telemetry"}


# --- docs/telemetry.md


def test_given_the_definitions_when_the_page_is_generated_then_it_is_the_page_in_the_repository():
    assert PAGE.read_text(encoding="utf-8") == telemetry_page(), "run: python -m docs.generate"


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_given_a_table_when_looked_up_then_the_page_explains_every_column(table):
    section = telemetry_page().partition(f"\n## {table.name}\n")[2].partition("\n## ")[0]

    assert table.doc in section
    for column in table.columns:
        assert f"| `{column.name}` | {column.sql_type} |" in section, f"{table.name}.{column.name}"
        assert column.doc.meaning, f"{table.name}.{column.name}: say what it means"


def test_given_every_field_of_a_tick_when_looked_up_then_its_unit_and_meaning_stand_in_system_metrics():
    section = telemetry_page().partition("\n## system_metrics\n")[2].partition("\n## ")[0]

    for field in fields_of(KINDS["tick"]):
        null = field.doc.null or "never NULL"
        assert f"| `{field.name}` | {field.sql_type} | {field.doc.unit or '–'} | " in section
        assert null in section


# --- quoted command lines


def quoted_commands(text):
    """The lines of fenced blocks that start one of our programs: program and arguments, up to a pipe or redirect."""
    for block in re.findall(r"^```[^\n]*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            bare = re.sub(r"^\s*(\$ )?(\w+=\S+ )*(\.venv/bin/)?", "", line)
            for spelled, program in STARTED_BY.items():
                bare = re.sub(rf"^{spelled}(?=\s|$)", program, bare)
            program, _, rest = bare.partition(" ")
            if program in PROGRAMS:
                lexer = shlex.shlex(rest, posix=True, punctuation_chars="|<>;&")
                lexer.whitespace_split = True
                yield program, _until_operator(lexer)


def _until_operator(words):
    arguments = []
    for word in words:
        if set(word) <= set("|<>;&"):
            break
        arguments.append(word)
    return arguments


def root_command(program):
    module = importlib.import_module(PROGRAMS[program])
    return next(value for value in vars(module).values() if isinstance(value, click.Group))


def parse(command, arguments, parent=None):
    """Walk to the subcommand and parse its options, without running anything. Raises click's UsageError."""
    with click.Context(command, parent=parent, **command.context_settings) as context:
        if isinstance(command, click.Group):
            if not arguments or arguments[0] in {"--help", "-h", "--version"}:
                return
            _, subcommand, rest = command.resolve_command(context, list(arguments))
            parse(subcommand, rest, context)
            return
        if {"--help", "-h"} & set(arguments):
            return
        given, extra, _ = command.make_parser(context).parse_args(list(arguments))
        if extra:
            raise click.UsageError(f"unexpected {extra}")
        for parameter in command.params:
            if parameter.required and not isinstance(given.get(parameter.name), str | tuple | bool | int):
                raise click.UsageError(f"missing {parameter.human_readable_name}")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_given_a_page_when_its_command_lines_are_tried_then_every_one_parses(path):
    for program, arguments in quoted_commands(path.read_text(encoding="utf-8")):
        try:
            parse(root_command(program), arguments)
        except click.UsageError as error:
            pytest.fail(f"{path.name}: `{program} {shlex.join(arguments)}`: {error.format_message()}")


def test_given_the_readme_when_read_then_it_quotes_commands_of_both_programs():
    readme = ROOT / "README.md"
    if not readme.is_file():
        pytest.skip("no README.md yet")

    programs = {program for program, _ in quoted_commands(readme.read_text(encoding="utf-8"))}

    assert programs == set(PROGRAMS)


@pytest.mark.parametrize("program", PROGRAMS)
def test_given_the_examples_in_help_when_tried_then_every_one_parses(program):
    def examples(command):
        yield from re.findall(r"^ +(kedge-\S+ .*)$", (command.help or "").replace("\b", ""), flags=re.MULTILINE)
        for subcommand in getattr(command, "commands", {}).values():
            yield from examples(subcommand)

    found = list(examples(root_command(program)))
    assert found, f"{program} --help should open with examples"
    block = "```\n" + "\n".join(found) + "\n```\n"
    for spoken, arguments in quoted_commands(block):
        parse(root_command(spoken), arguments)


@pytest.mark.parametrize(
    ("line", "read"),
    [
        ("$ kedge-engine run -c a.yaml --set 'a.b=c d'  # comment", ("kedge-engine", "run -c a.yaml --set a.b='c d'")),
        ("kedge-telemetry report latest --json | python -m json.tool", ("kedge-telemetry", "report latest --json")),
        ("KEDGE_SET=a.b=1 .venv/bin/kedge-engine run > log 2>&1", ("kedge-engine", "run")),
        ("python -m engine_proc check", ("kedge-engine", "check")),
        ("make demo", None),
    ],
)
def test_given_a_sample_line_when_read_then_program_and_arguments_are_found(line, read):
    found = list(quoted_commands(f"```sh\n{line}\n```\n"))

    assert found == ([] if read is None else [(read[0], shlex.split(read[1]))])


@pytest.mark.parametrize("arguments", [["fly"], ["run", "--nope"], ["run", "extra"], ["rearm"], ["replay"]])
def test_given_a_command_line_that_does_not_exist_when_tried_then_it_is_found_out(arguments):
    with pytest.raises(click.UsageError):
        parse(root_command("kedge-engine"), arguments)
