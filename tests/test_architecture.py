"""The house keeps its shape: who may import whom, what an import may cost, what the packages promise."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"azr_sandbox": "sandbox/azr_sandbox", "azr_gym": "azr_gym", "azr_agents": "agents/azr_agents"}
# azr_sandbox <- azr_gym <- azr_agents <- examples; the learner reaches the box through environments only.
MAY_IMPORT = {"azr_sandbox": set(), "azr_gym": {"azr_sandbox"}, "azr_agents": {"azr_gym"}}
ROOMS = ("code", "clinical")
INSIDE = ("child.py", "errors.py", "pages.py", "relay.py", "values.py", "walls.py", "wire.py", "worker.py", "zygote.py")


def imports(path: Path) -> set[str]:
    """Every module that a file imports, absolutely, however deep the statement stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." * node.level + (node.module or ""))
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_those_below(package: str) -> None:
    files = list((ROOT / PACKAGES[package]).rglob("*.py"))
    assert files
    for path in files:
        ours = {name.partition(".")[0] for name in imports(path)} & set(PACKAGES)
        assert ours <= MAY_IMPORT[package] | {package}, path


def test_rooms_never_import_each_other() -> None:
    for room in ROOMS:
        for path in (ROOT / "azr_gym" / room).rglob("*.py"):
            for other in set(ROOMS) - {room}:
                assert not any(f"azr_gym.{other}" in name or name.strip(".") == other for name in imports(path)), path


def test_what_runs_inside_the_box_is_the_standard_library_only() -> None:
    from azr_sandbox import worker

    assert worker.INSIDE == INSIDE
    allowed = set(sys.stdlib_module_names) | {f".{name.removesuffix('.py')}" for name in INSIDE} | {"."}
    for name in INSIDE:
        found = imports(ROOT / PACKAGES["azr_sandbox"] / name)
        assert {module if module.startswith(".") else module.partition(".")[0] for module in found} <= allowed, name


@pytest.mark.parametrize("package", ["azr_gym", "azr_sandbox"])
def test_an_import_pulls_neither_torch_nor_docker(package: str) -> None:
    code = f"import sys, {package}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "transformers", "docker", "stable_baselines3", "rich", "tyro", "requests"} & set(loaded)


def test_every_package_is_typed_and_no_folder_is_a_stray_package() -> None:
    for folder in PACKAGES.values():
        assert (ROOT / folder / "py.typed").exists()
    for folder in ("agents", "sandbox", "tests", "examples"):
        assert not (ROOT / folder / "__init__.py").exists()


def test_the_top_level_is_as_drawn() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    wanted = {
        "pyproject.toml", "README.md", "LICENSE", "Makefile", "constraints.txt",
        "azr_gym", "agents", "sandbox", "tests", "examples",
    }  # fmt: skip
    assert {name.partition("/")[0] for name in tracked if not name.startswith(".")} == wanted


def test_every_public_name_has_a_docstring() -> None:
    import azr_sandbox

    for name in azr_sandbox.__all__:
        assert getattr(azr_sandbox, name).__doc__, name
