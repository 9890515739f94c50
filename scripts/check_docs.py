"""Check that every path the documentation names exists, and that each RFC and XEP has its row.

A document that the source refers to (`# RFC 6121 §8.5`, `XEP-0198`) must stand in docs/conformance.md.
"""

import re
import sys
from pathlib import Path

NAMED = re.compile(r"`((?:src|tests|docs|bench|scripts)/[\w./-]+)`")
MODULE = re.compile(r"`([a-z_]+(?:/[a-z0-9_]+)*\.py)`")  # short for one below src/ubiety
DOCUMENT = re.compile(r"\bRFC \d{4}\b|\bXEP-\d{4}\b")
MADE = "bench/out/"  # comes into being when the bench runs
NAMESPACES = "ns.py"  # names documents for their namespaces only
LINKED = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)[^)]*\)")


def is_short(name: str) -> bool:
    """Whether a module is named relative to src/ubiety."""
    return not name.startswith(("src/", "tests/", "bench/", "scripts/", "docs/"))


def find_broken(page: Path, root: Path) -> list[str]:
    """List the references of one page that lead nowhere, as lines to print."""
    broken = []
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        targets = [(name, root / name) for name in NAMED.findall(line) if not name.startswith(MADE)]
        targets += [(name, root / "src" / "ubiety" / name) for name in MODULE.findall(line) if is_short(name)]
        targets += [(link, page.parent / link) for link in LINKED.findall(line)]
        broken += [
            f"{page.relative_to(root)}:{number}: there is no {name}"
            for name, target in targets
            if not target.exists()
        ]
    return broken


def find_missing_rows(conformance: Path, source: Path) -> list[str]:
    """List the documents that the source refers to and the conformance page has no row for."""
    known = set(DOCUMENT.findall(conformance.read_text("utf-8")))
    used = {
        document: path
        for path in sorted(source.rglob("*.py"))
        if path.name != NAMESPACES
        for document in DOCUMENT.findall(path.read_text("utf-8"))
    }
    missing = sorted(document for document in used if document not in known)
    return [
        f"{conformance.name}: has no row for {document}, see {used[document].relative_to(source.parent)}"
        for document in missing
    ]


def main() -> int:
    """Print the broken references; return the exit code."""
    root = Path(__file__).resolve().parent.parent
    pages = [
        root / "README.md",
        *sorted((root / "docs").rglob("*.md")),
        *sorted((root / "bench").glob("*.md")),
    ]
    broken = [fault for page in pages for fault in find_broken(page, root)]
    broken += find_missing_rows(root / "docs" / "conformance.md", root / "src")
    sys.stdout.write(f"Documentation: {len(pages)} pages, {len(broken)} broken references\n")
    sys.stdout.writelines(f"{fault}\n" for fault in broken)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
