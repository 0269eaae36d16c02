"""Kedge with one line broken, for as long as a block lasts."""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

OURS = ("shared.", "engine_proc.", "telemetry_proc.", "tests.sim.")


@contextmanager
def broken(where: str, before: str, after: str) -> Iterator[None]:
    """Within the block the function at `where` (`module:function` or `module:Class.method`) reads `after` for `before`.

    Raises `AssertionError` if `before` does not stand in it exactly once: the code has moved on, this must follow.
    """
    module_name, _, path = where.partition(":")
    module = import_module(module_name)
    *owners, name = path.split(".")
    owner = getattr(module, owners[0]) if owners else module
    sound = getattr(owner, name)
    source = textwrap.dedent(inspect.getsource(sound))
    assert source.count(before) == 1, f"{where} has {source.count(before)} times:\n{before}"
    made: dict[str, object] = {}
    exec(compile(source.replace(before, after), f"<{where}, broken>", "exec"), vars(module), made)
    holders = [owner] if owners else [one for key, one in sys.modules.items() if key.startswith(OURS)]
    held = [holder for holder in holders if vars(holder).get(name) is sound]
    assert held, f"nobody holds {where}"
    for holder in held:
        setattr(holder, name, made[name])
    try:
        yield
    finally:
        for holder in held:
            setattr(holder, name, sound)
