"""What keeps the house readable: sizes, and comments that cite what is in the tree."""

import ast
import re
from collections import Counter
from pathlib import Path

HOUSE = Path(__file__).parents[1]
APP = sorted((HOUSE / "app").rglob("*.py"))
CODE = [
    p for room in ("tests", "bench", "sandbox") for p in (HOUSE / room).rglob("*.py")
]
PAGES = [*HOUSE.glob("*.md"), *(HOUSE / "docs").rglob("*.md")]
ROWS = set(re.findall(r"(?m)^\| (\d+) \|", (HOUSE / "docs/faults.md").read_text()))

EXCEPTIONS = {
    "app/settings/model.py": "the list of all settings, and a check for each kind",
    "app/server/worker.py": "gunicorn calls the methods of one class",
    "app/gateway/guard/guarded.py": "one attempt, from its permit to what it taught",
    "app/upstreams/openai/chunks.py": "the shapes of one format",
    "Worker": "as its file",
    "Guarded": "as its file",
    "Writer": "one thread, its clock and its errors",
    "SqliteStore": "the port has eleven members",
    "CircuitBreaker": "the shell around one shared state",
    "StreamedReply": "the states of one stream",
    "services": "a line for each part that doors are handed",
    "upgrade": "a migration names every column",
}
# A row of the faults, a path, and what names a document that is not in the tree.
ROW = re.compile(r"\brows? (\d+)(?: (?:to|and) (\d+))?")
PATH = re.compile(r"\b(?:docs|app|tests|deploy)/[\w./-]*\w")
ELSEWHERE = re.compile(
    r"(?i)pitfalls|[(](?:contracts[,)]|design)|(?:design|seed)'s|matrix row|issue \d"
)


def lines(node):
    return node.end_lineno - node.lineno + 1


def too_large(path):
    if path.read_text().count("\n") > 300:
        yield str(path.relative_to(HOUSE))
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            docstring = lines(node.body[0]) if ast.get_docstring(node) else 0
            is_large = lines(node) - docstring > 40
        elif isinstance(node, ast.ClassDef):
            methods = [part for part in node.body if isinstance(part, ast.FunctionDef)]
            is_large = len(methods) > 15
        else:
            continue
        if is_large:
            yield node.name


def missing(text):
    """What a text cites and nobody finds; a decision may be named by its number."""
    for name in PATH.findall(text):
        if not any(HOUSE.glob(f"{name}*")):
            yield name
    yield from {row for pair in ROW.findall(text) for row in pair if row} - ROWS
    yield from ELSEWHERE.findall(text)


def test_all_is_small_but_for_what_is_named():
    assert {name for path in APP for name in too_large(path)} == set(EXCEPTIONS)


def test_a_folder_is_read_at_one_look():
    modules = Counter(p.parent for p in APP if p.name != "__init__.py")

    assert [folder for folder, number in modules.items() if number > 15] == []


def test_what_is_cited_is_in_the_tree():
    pages = {*APP, *CODE, *PAGES} - {Path(__file__)}
    cited = {page: list(missing(page.read_text())) for page in pages}

    assert {page: names for page, names in cited.items() if names} == {}
