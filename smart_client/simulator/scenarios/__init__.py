"""The scenarios that ship with the product, as TOML files beside this module."""

from importlib.resources import files
from pathlib import Path

from redundancy.errors import FileMissing
from smart_client.errors import InvalidRequest
from smart_client.simulator.scenario import Scenario

# The columns of the table every change of the scheduler is judged by.
TABLE = (
    "typ-B120",
    "raw-8M-2s",
    "typical",
    "harsh-B120",
    "typ-2s-B120",
    "clientlink-2s",
    "calm",
)


def scenario_names() -> list[str]:
    """Return the names of the scenarios that ship."""
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in files(__name__).iterdir()
        if entry.name.endswith(".toml")
    )


def load_scenario(name: str) -> Scenario:
    """Return a scenario by name or by the path of a TOML file; ``NAME/LAYOUT`` sets the layout.

    Raises: InvalidRequest: no such scenario, or one that breaks its rules; FileMissing.
    """
    path = Path(name)
    if path.suffix == ".toml":
        if not path.is_file():
            raise FileMissing(f"no such file: {name}", hint="name a scenario file, or one by name")
        return Scenario.parse(path.read_text(encoding="utf-8"), name)
    base, _, layout = name.partition("/")
    if base not in scenario_names():
        raise InvalidRequest(f"no scenario '{base}'", hint=f"one of: {', '.join(scenario_names())}")
    text = files(__name__).joinpath(f"{base}.toml").read_text(encoding="utf-8")
    scenario = Scenario.parse(text, f"{base}.toml")
    return scenario.with_layout(layout) if layout else scenario
