"""Schedulers of a user's own, from a Python file, beside those that ship."""

import importlib.util
import sys
import traceback
from pathlib import Path

from redundancy.errors import FileMissing
from smart_client.core.schedulers import ALIASES, SCHEDULERS
from smart_client.errors import InvalidRequest
from smart_client.simulator.informed import INFORMED

# Name of a scheduler -> the file it came from.
_own: dict[str, Path] = {}


def load_schedulers(path: Path) -> list[str]:
    """Run a Python file and take in the schedulers it defines; return their names.

    A scheduler is a class with a ``name`` and the methods of ``core.scheduler.Scheduler``. The file
    is a program and may do whatever a program may.
    Raises: FileMissing; InvalidRequest: it fails, defines none, or takes the name of one that is
    there.
    """
    if not path.is_file():
        raise FileMissing(f"no such file: {path}", hint="name a Python file")
    module_name = f"evenflow_own_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise InvalidRequest(f"{path} is no Python file", hint="its name ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise _told(f"{path} cannot be loaded", path, error) from error
    found = [
        each
        for each in vars(module).values()
        if isinstance(each, type) and each.__module__ == module_name and _is_scheduler(each)
    ]
    if not found:
        raise InvalidRequest(
            f"{path} defines no scheduler",
            hint="a class with `name`, `decide(self, state)` and `next_wakeup_s(self, state)`; see "
            "smart_client/COMPARING.md",
        )
    return [_take_in(each, path) for each in found]


def failure_of(name: str, world: str, error: Exception) -> Exception:
    """Return what to raise for a scheduler that failed: its file is to blame if it is a user's."""
    path = _own.get(name)
    return error if path is None else _told(f"scheduler '{name}' failed in {world}", path, error)


def _is_scheduler(kind: type) -> bool:
    has_methods = callable(getattr(kind, "decide", None)) and callable(
        getattr(kind, "next_wakeup_s", None)
    )
    return isinstance(getattr(kind, "name", None), str) and has_methods


def _take_in(kind: type, path: Path) -> str:
    name: str = kind.name  # type: ignore[attr-defined]
    is_taken = SCHEDULERS.get(name, kind) is not kind and _own.get(name) != path
    if is_taken or name in (*ALIASES, INFORMED) or not name or "," in name:
        raise InvalidRequest(
            f"{path}: a scheduler cannot be called '{name}'",
            hint="choose a name without commas that no other scheduler has",
        )
    try:
        kind()
    except Exception as error:
        raise _told(f"scheduler '{name}' cannot be made", path, error) from error
    SCHEDULERS[name] = kind
    _own[name] = path
    return name


def _told(what: str, path: Path, error: Exception) -> InvalidRequest:
    own = [each for each in traceback.extract_tb(error.__traceback__) if each.filename == str(path)]
    where = {"line": f"{path}:{own[-1].lineno}: {own[-1].line}"} if own else {}
    hint = "mend the file"
    if "interpreted classes cannot inherit" in str(error):
        hint = "`smart-client compare` can: it runs the core as plain Python, not compiled"
    return InvalidRequest(f"{what}: {type(error).__name__}: {error}", hint=hint, detail=where)
