"""Check that every path the documentation names exists: sources, tests, other pages."""

import re
import sys
from pathlib import Path

NAMED = re.compile(r"`((?:src|tests|docs|bench|scripts)/[\w./-]+)`")
LINKED = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)[^)]*\)")


def find_broken(page: Path, root: Path) -> list[str]:
    """List the references of one page that lead nowhere, as lines to print."""
    broken = []
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        targets = [(name, root / name) for name in NAMED.findall(line)]
        targets += [(link, page.parent / link) for link in LINKED.findall(line)]
        broken += [
            f"{page.relative_to(root)}:{number}: there is no {name}"
            for name, target in targets
            if not target.exists()
        ]
    return broken


def main() -> int:
    """Print the broken references; return the exit code."""
    root = Path(__file__).resolve().parent.parent
    pages = [
        root / "README.md",
        *sorted((root / "docs").rglob("*.md")),
        *sorted((root / "bench").glob("*.md")),
    ]
    broken = [fault for page in pages for fault in find_broken(page, root)]
    sys.stdout.write(f"Documentation: {len(pages)} pages, {len(broken)} broken references\n")
    sys.stdout.writelines(f"{fault}\n" for fault in broken)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
