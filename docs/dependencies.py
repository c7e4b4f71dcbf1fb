"""`make lock`: write what the gateway is made of, for people and for scanners.

Reads requirements.txt, what each installed package says of itself, and the list of
parts that cyclonedx-py made; writes docs/licences.md, and the list with licences.
"""

import json
import re
from email.message import Message
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any, cast

HOUSE = Path(__file__).parents[1]
PARTS = HOUSE / "deploy" / "sbom.json"
HEAD = """<!-- Made by `make lock` from what each package says of itself; do not edit. -->

# Licences

What the gateway runs on, as `requirements.txt` pins it; `deploy/sbom.json` is the same for scanners (CycloneDX). The gateway itself is under the [MIT licence](../LICENSE).
All of these permit use in any product. MPL-2.0 (certifi) asks that changes of its own files are published; LGPL-3.0 (psycopg, which is loaded with a `postgresql://` URL only) asks the same, and that the library can be exchanged, as an installed package can.

| Package | Version | Licence | Home |
|---|---|---|---|
"""  # noqa: E501  # a page
# Other people's libraries in the pages of the console, as they publish them, each
# with its licence beside it: what its file says of itself at its head.
VENDOR = HOUSE / "app" / "web" / "static" / "vendor"
VENDORED = {
    "marked": (
        "marked.js",
        r"marked v([\d.]+)",
        "MIT",
        "https://github.com/markedjs/marked",
    ),
    "dompurify": (
        "purify.js",
        r"DOMPurify ([\d.]+)",
        "Apache-2.0",
        "https://github.com/cure53/DOMPurify",
    ),
}
BROWSER = """
In the console's pages, as their makers publish them (`app/web/static/vendor/`, with their licences):

| Package | Version | Licence | Home |
|---|---|---|---|
"""  # noqa: E501  # a page
HOMES = ("homepage", "home", "source", "repository", "documentation")


def main() -> None:
    """Write both."""
    pins = re.findall(r"^([\w.-]+)==", _text("requirements.txt"), re.MULTILINE)
    told = {name: said for name in pins if (said := _metadata(name))}
    rows = [
        f"| {name} | {said['Version']} | {_licence(said)} | {_home(said)} |\n"
        for name, said in told.items()
    ]
    page = HEAD + "".join(rows) + BROWSER + "".join(_vendored_rows())
    (HOUSE / "docs" / "licences.md").write_text(page)
    parts: dict[str, Any] = json.loads(PARTS.read_text())
    parts.get("metadata", {}).pop("tools", None)
    for part in parts["components"]:
        # Where a package was found is the business of whoever installs it.
        for key in ("externalReferences", "description"):
            part.pop(key, None)
        if said := told.get(part["name"]):
            part["licenses"] = [{"license": {"name": _licence(said)}}]
    parts.pop("externalReferences", None)
    parts["components"] = [
        *(part for part in parts["components"] if part["name"] not in VENDORED),
        *(_vendored_part(name) for name in VENDORED),
    ]
    PARTS.write_text(json.dumps(parts, indent=1, sort_keys=True) + "\n")


def _vendored_rows() -> list[str]:
    return [
        f"| {name} | {_vendored_version(name)} | {licence} | {home} |\n"
        for name, (_, _, licence, home) in VENDORED.items()
    ]


def _vendored_part(name: str) -> dict[str, Any]:
    version, licence = _vendored_version(name), VENDORED[name][2]
    return {
        "type": "library",
        "name": name,
        "version": version,
        "purl": f"pkg:npm/{name}@{version}",
        "bom-ref": f"pkg:npm/{name}@{version}",
        "licenses": [{"license": {"name": licence}}],
    }


def _vendored_version(name: str) -> str:
    file, pattern, *_ = VENDORED[name]
    found = re.search(pattern, (VENDOR / file).read_text()[:500])
    if found is None:
        raise ValueError(f"{file} does not say which version it is")
    return found[1]


def _text(name: str) -> str:
    return (HOUSE / name).read_text()


def _metadata(name: str) -> Message | None:
    try:
        return cast(Message, metadata(name))
    except PackageNotFoundError:  # it is for another system or version of Python
        return None


def _licence(said: Message) -> str:
    told = str(said.get("License-Expression") or said.get("License") or "")
    classes = [str(entry) for entry in said.get_all("Classifier", [])]
    classified = [c.rpartition(" :: ")[2] for c in classes if c.startswith("License")]
    return told if 0 < len(told) < 40 else ", ".join(classified)


def _home(said: Message) -> str:
    urls = {"home": str(said.get("Home-page") or "")}
    for entry in said.get_all("Project-URL", []):
        label, _, url = str(entry).partition(", ")
        urls.setdefault(label.lower().replace("source code", "source"), url)
    return next((url for label in HOMES if (url := urls.get(label))), "")


if __name__ == "__main__":
    main()
