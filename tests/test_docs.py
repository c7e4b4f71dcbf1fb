"""The documents say what the code does."""

import importlib.util
import re
from pathlib import Path

import pytest

from app.settings import Settings
from app.settings.names import HANDED, OTHERS, RENAMED

HOUSE = Path(__file__).parents[1]
DOCS = HOUSE / "docs"


@pytest.fixture(scope="module")
def generator():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "page",
    ["settings.md", "commands.md", "routes.md", "../app/web/static/api.html"],
)
def test_a_generated_page_is_what_make_docs_would_write(generator, page):
    assert (DOCS / page).read_text() == generator.PAGES[page]()


def test_every_setting_has_a_description(generator):
    missing = [n for n, f in Settings.model_fields.items() if not f.description]

    assert missing == []


def test_every_default_is_told_and_every_variable_that_is_read(generator):
    page = generator.settings_page()

    assert "see there" not in page
    assert OTHERS - {HANDED} <= set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE))


PROSE = sorted([*HOUSE.glob("*.md"), *DOCS.rglob("*.md")])


@pytest.mark.parametrize("page", PROSE, ids=lambda p: str(p.relative_to(HOUSE)))
def test_links_between_pages_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PROSE, ids=lambda p: str(p.relative_to(HOUSE)))
def test_variables_that_are_named_exist(page):
    names = [*Settings.model_fields, *RENAMED]
    known = {f"VX11_{name.upper()}" for name in names} | {
        "VX11_TENTACULO_LINK_TOKEN",
        "VX11_OPERATOR_TOKEN",
        "VX11_CONFIG",
        "VX11_OPERATOR_URL",
        "VX11_OPERATOR_PROXY_ENABLED",
        "VX11_TENTACULO_URL",
    }
    named = set(re.findall(r"VX11_[A-Z][A-Z_]*[A-Z]\b(?!_)", page.read_text()))

    assert named - known == set()


def test_each_limit_that_is_explained_is_in_the_code():
    page = (DOCS / "limits.md").read_text()
    cells = re.findall(r"^\| (`[A-Z].*?) \|", page, re.MULTILINE)
    told = set(re.findall(r"`([A-Z_]+)`", " ".join(cells)))
    code = "\n".join(path.read_text() for path in (HOUSE / "app").rglob("*.py"))

    assert told
    assert {name for name in told if not re.search(rf"\b{name}\b.* = ", code)} == set()
