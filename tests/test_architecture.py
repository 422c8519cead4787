"""The house rules that a machine can check: layers, sizes, start-up, no traces of a workplace."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "raglift"
LAYERS = {  # docs/design.md, "Layers": imports only go down or sideways
    0: {"records", "errors"},
    1: {
        "config", "runfolder", "storedrun", "datasets", "progress", "sanitization", "lock", "changes", "offline",
        "machine", "objectstorage", "runcopy",
    },
    2: {"retrieval", "models", "prompts", "statistics", "engines"},
    3: {
        "training", "answering", "answers", "grading", "report", "preflight", "ask", "contexts", "comparison",
        "agreement", "comparison_files", "export", "correction", "benchmarks", "shelf", "dialogue", "importing",
        "outlook", "cost",
    },
    4: {"experiment", "sweep", "serve"},
    5: {"cli", "__main__", "documentation"},
}  # fmt: skip
LAYER_OF = {name: layer for layer, names in LAYERS.items() for name in names}


def list_modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def list_imports(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("raglift"):
            found.add(node.module)
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("raglift")}
    return found


def name_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def test_every_module_has_its_layer() -> None:
    names = {file.relative_to(SOURCE).parts[0].removesuffix(".py") for file in list_modules()}
    assert names - {"__init__"} == set(LAYER_OF)


@pytest.mark.parametrize("file", list_modules(), ids=lambda file: str(file.relative_to(SOURCE)))
def test_imports_only_go_down(file: Path) -> None:
    mine = file.relative_to(SOURCE).parts[0].removesuffix(".py")
    if mine == "__init__":
        assert not list_imports(file)
        return
    for module in list_imports(file):
        other = name_of(module)
        if other != "__init__":
            assert LAYER_OF[other] <= LAYER_OF[mine], f"{mine} imports {module}, which lies above it"


def test_no_import_cycles_between_modules() -> None:
    graph = {
        ".".join(["raglift", *file.relative_to(SOURCE).with_suffix("").parts]): list_imports(file)
        for file in list_modules()
    }
    state: dict[str, int] = {}

    def visit(module: str, path: list[str]) -> None:
        if state.get(module) == 1:
            raise AssertionError(" → ".join([*path, module]))
        if state.get(module) is None and module in graph:
            state[module] = 1
            for other in graph[module]:
                visit(other, [*path, module])
            state[module] = 2

    for module in graph:
        visit(module, [])


@pytest.mark.parametrize("file", list_modules(), ids=lambda file: str(file.relative_to(SOURCE)))
def test_files_and_functions_stay_readable(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 450, "split it"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 70, f"{node.name} is too long"


def test_help_and_import_load_no_heavy_library() -> None:
    code = (
        "import sys, raglift, raglift.cli;"
        "print([m for m in ('torch', 'transformers', 'lancedb', 'scipy', 'numpy', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
