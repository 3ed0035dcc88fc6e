"""The tree itself: what documents name exists, limits hold, nothing is dead or left open."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("redundancy", "smart_client", "storage_server")
FILE_LINES_MAX = 400


def tracked(*patterns: str) -> list[Path]:
    """Return files git knows or would add."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    out = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for line in out.splitlines() if (path := ROOT / line).is_file()]


SOURCES = tracked("*.py")
DOCUMENTS = tracked("*.md")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_top_level_holds_only_what_belongs_there() -> None:
    allowed = {
        *("redundancy", "smart_client", "storage_server", "tests", "scripts", ".ci"),
        *("setup.cfg", "pyproject.toml", "README.md", "CHANGELOG.md", "CONTRIBUTING.md"),
        *("BENCHMARKS.md", "LICENSE", "CITATION.cff", "Makefile", ".gitignore"),
    }
    found = {path.relative_to(ROOT).parts[0] for path in tracked()}
    assert found <= allowed, f"unexpected: {sorted(found - allowed)}"


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_a_file_stays_below_its_limit(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= FILE_LINES_MAX, f"{lines} lines: split it by responsibility"


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_every_path_a_document_names_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    wanted = set(
        re.findall(r"`((?:redundancy|smart_client|storage_server|tests|scripts)/[\w./-]+)`", text)
    )
    wanted |= {link for link in re.findall(r"\]\(([\w./-]+)\)", text) if "://" not in link}
    missing = [
        name
        for name in sorted(wanted)
        if not ((ROOT / name).exists() or (path.parent / name).exists())
    ]
    assert not missing


def test_no_work_is_left_open_without_a_reason() -> None:
    mark = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b(?!\s*[:(]\s*\w)")
    own = Path(__file__)
    found = [named(p) for p in SOURCES if p != own and mark.search(p.read_text(encoding="utf-8"))]
    assert not found


def imports_of(path: Path) -> set[str]:
    """Return every module of ours that a file imports, also those a string names (lazy imports)."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            found.add(module)
            found |= {f"{module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return found


# Modules the product does not import, each with the reason it is there.
TWINS = {
    "storage_server.catalogue.memory": "the catalogue contract's twin for tests and simulations",
    "storage_server.node.memory_store": "the chunk store contract's twin for tests",
}


def test_no_module_is_dead() -> None:
    """Every module is imported by product code or started as a program; tests do not count."""
    product = [p for p in SOURCES if p.relative_to(ROOT).parts[0] in (*PACKAGES, "scripts")]
    imported = set().union(*(imports_of(path) for path in product))
    scripts = "\n".join(
        path.read_text(encoding="utf-8") for path in tracked("scripts/*", "setup.cfg")
    )
    dead = []
    for path in product:
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[-1] in ("__init__", "__main__") or parts[0] == "scripts":
            continue
        name = ".".join(parts)
        if name not in imported and name not in scripts and name not in TWINS:
            dead.append(name)
    assert not dead


def test_every_twin_exists_and_is_tested() -> None:
    tests = set().union(*(imports_of(path) for path in tracked("tests/*.py")))
    assert set(TWINS) <= tests


def test_commits_carry_no_machine_paths_or_registry_hosts() -> None:
    hosts = re.compile(r"/work/|/root/|pypi\.org|files\.pythonhosted|registry\.npmjs|deb\.debian")
    own = Path(__file__)
    found = []
    for path in tracked():
        if path == own or path.suffix in (".svg", ".png"):
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        if hosts.search(text):
            found.append(named(path))
    assert not found
