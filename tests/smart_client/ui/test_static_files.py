"""The pages as files: whole, offline, and nothing in them that the content policy forbids."""

import configparser
import hashlib
import re
from pathlib import Path

import pytest

from smart_client.gateway.pages import ui_directory

ROOT = Path(__file__).parents[3]
FOUND = ui_directory()
assert FOUND is not None
UI = FOUND
VENDOR = UI / "vendor"
OWN = sorted(
    path
    for path in UI.rglob("*")
    if path.suffix in {".html", ".css", ".js", ".svg"} and VENDOR not in path.parents
)


def named(path: Path) -> str:
    return str(path.relative_to(UI))


def test_vendored_files_are_those_of_the_list() -> None:
    lines = (VENDOR / "SHA256SUMS").read_text(encoding="ascii").splitlines()
    listed = {name: digest for digest, name in (line.split() for line in lines)}
    found = {path.name for path in VENDOR.iterdir()} - {"SHA256SUMS", "VENDORED.md"}
    assert set(listed) == found
    for name, digest in listed.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == digest, name


def test_every_vendored_file_has_its_version_and_licence() -> None:
    table = (VENDOR / "VENDORED.md").read_text(encoding="utf-8")
    for path in VENDOR.iterdir():
        if path.suffix in {".js", ".css", ".woff2"}:
            row = next(line for line in table.splitlines() if line.startswith(f"| {path.name} |"))
            assert re.search(r"\| \d+\.\d+\.\d+ \|", row)
            licence = row.split("|")[-2].split(",")[-1].strip()
            assert (VENDOR / licence).is_file()


@pytest.mark.parametrize("path", OWN, ids=named)
def test_a_page_loads_nothing_from_elsewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace("http://www.w3.org/", "")
    assert not re.findall(r"""(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}|@import""", text)


def test_the_page_has_nothing_inline() -> None:
    text = (UI / "index.html").read_text(encoding="utf-8")
    assert not re.findall(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon[a-z]+=", text)


@pytest.mark.parametrize("path", [p for p in OWN if p.suffix == ".js"], ids=named)
def test_scripts_make_no_markup_of_strings(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text)
    assert text.count("\n") <= 400, "split it by responsibility"


def test_every_file_is_package_data() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    patterns = config["options.package_data"]["smart_client.ui"].replace("\n", " ").split(",")
    packed = {path for pattern in patterns for path in UI.glob(pattern.strip()) if path.is_file()}
    wanted = {p for p in UI.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    assert {named(p) for p in wanted - packed} <= {"__init__.py"}
