"""Check that files and functions stay small: no file over 600 lines, no function over 60."""

import ast
import statistics
import sys
from pathlib import Path

FILE_LINES = 600
FUNCTION_LINES = 60


def measure_functions(tree: ast.Module) -> list[tuple[str, int, int]]:
    """List (name, first line, number of lines) of every function in the module, decorators included."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [
        (node.name, node.lineno, (node.end_lineno or node.lineno) - node.lineno + 1)
        for node in ast.walk(tree)
        if isinstance(node, kinds)
    ]


def main() -> int:
    """Print the medians and whatever is too large; return the exit code."""
    root = Path(__file__).resolve().parent.parent
    faults: list[str] = []
    files: list[int] = []
    functions: list[int] = []
    for path in sorted((root / "src").rglob("*.py")):
        text = path.read_text("utf-8")
        where = path.relative_to(root)
        files.append(len(text.splitlines()))
        if files[-1] > FILE_LINES:
            faults.append(f"{where}: {files[-1]} lines, at most {FILE_LINES}")
        for name, line, length in measure_functions(ast.parse(text)):
            functions.append(length)
            if length > FUNCTION_LINES:
                faults.append(f"{where}:{line}: {name} has {length} lines, at most {FUNCTION_LINES}")
    medians = [statistics.median(sizes) if sizes else 0 for sizes in (files, functions)]
    sys.stdout.write(
        f"Sizes: {len(files)} files, median {medians[0]:g} lines; "
        f"{len(functions)} functions, median {medians[1]:g} lines\n"
    )
    sys.stdout.writelines(f"{fault}\n" for fault in faults)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
