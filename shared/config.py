"""From a YAML file and `--set` overrides to one frozen `Config`, or one line that says what is wrong where."""

from __future__ import annotations

import copy
import difflib
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel, ValidationError

from shared.errors import ConfigError
from shared.settings import Config

# PyYAML lets through what its own constructors raise: a 13th month, a list as a key, an empty `!!int`, a deep nest.
_NOT_YAML = (yaml.YAMLError, ValueError, TypeError, LookupError, RecursionError)


class LoadedConfig(NamedTuple):
    """The effective configuration and what identifies it."""

    config: Config
    source: str
    config_json: str  # canonical: sorted keys, no white space
    config_hash: str  # SHA-256 of config_json, first 16 hex digits


def load_config(path: Path, overrides: Sequence[str] = ()) -> LoadedConfig:
    """Read a file, lay `section.key=value` overrides over it, validate.

    Raises `ConfigError` with one line for each fault, naming the file (or the override), the key and the remedy.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot read the configuration: {_why(error)}") from None
    try:
        raw = yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 - a SafeLoader that refuses duplicate keys
    except _NOT_YAML as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    return build_config(raw, str(path), overrides)


def build_config(raw: Any, source: str, overrides: Sequence[str] = ()) -> LoadedConfig:
    """The same from data that is already parsed, which stays as it is. `source` names it in messages."""
    raw = {} if raw is None else copy.deepcopy(raw)
    if not isinstance(raw, dict):
        raise ConfigError(f"{source}: must be a mapping of sections, is a {type(raw).__name__}")
    origins: dict[tuple[str, ...], str] = {}
    for override in overrides:
        _apply_override(raw, override, origins)
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        raise ConfigError("\n".join(_complaints(error, source, origins))) from None
    config_json = json.dumps(config.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return LoadedConfig(config, source, config_json, hashlib.sha256(config_json.encode()).hexdigest()[:16])


def _apply_override(raw: dict[str, Any], override: str, origins: dict[tuple[str, ...], str]) -> None:
    dotted, equals, text = override.partition("=")
    keys = tuple(dotted.strip().split("."))
    if not equals or not all(keys):
        raise ConfigError(f"--set {override}: must read section.key=value")
    try:
        value = yaml.safe_load(text)
    except _NOT_YAML:
        raise ConfigError(f"--set {override}: the value is not YAML") from None
    block = raw
    for key in keys[:-1]:
        if block.get(key) is None:  # absent, or a section whose lines are all commented out
            block[key] = {}
        block = block[key]
        if not isinstance(block, dict):
            raise ConfigError(f"--set {override}: {key} is not a section")
    block[keys[-1]] = value
    origins[keys] = f"--set {override}"


def _complaints(error: ValidationError, source: str, origins: dict[tuple[str, ...], str]) -> Iterable[str]:
    for fault in error.errors(include_url=False):
        keys = tuple(str(part) for part in fault["loc"])
        where = next((origin for at, origin in origins.items() if keys[: len(at)] == at), source)
        dotted = ".".join(key if key.isprintable() else repr(key) for key in keys)  # a key may hold a line break
        if fault["type"] == "extra_forbidden":
            yield f"{where}: {dotted}: unknown key{_nearest(keys)}"
            continue
        if fault["type"] == "too_short" and fault["input"]:
            continue  # not empty: its items are at fault, each with a line of its own
        if fault["type"] != "value_error":
            yield f"{where}: {dotted}: {fault['msg']} (got {fault['input']!r:.60})"
            continue
        message = fault["msg"].removeprefix("Value error, ")
        names_key = message.partition(":")[0].replace(".", "").isidentifier()  # checks between keys name theirs first
        joint = "" if not dotted else "." if names_key else ": "
        yield f"{where}: {dotted}{joint}{message}"


def _nearest(keys: tuple[str, ...]) -> str:
    """`; did you mean cap_bps?`, from the names that the section really has."""
    section: Any = Config
    for key in keys[:-1]:
        field = section.model_fields.get(key) if isinstance(section, type) and issubclass(section, BaseModel) else None
        section = field.annotation if field else None
    names = list(section.model_fields) if isinstance(section, type) and issubclass(section, BaseModel) else []
    close = difflib.get_close_matches(keys[-1], names, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; known here: {', '.join(names)}" if names else ""


def _why(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "not UTF-8 text"


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML lets a key stand twice and keeps the last; in a file that limits money that must not pass."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)
