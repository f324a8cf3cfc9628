"""The direction of dependencies: `py` may use `proxy`, `proxy` may use `core`, and nothing points back.

`core` is pure: no files, sockets, clocks or randomness. On the Python side only the modules that hand something to
the data plane, or ask it, import `ostiary._core`.
"""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "ostiary"

MAY_USE = {
    "ostiary-core": set(),
    "ostiary-proxy": {"ostiary-core"},
    "ostiary-py": {"ostiary-core", "ostiary-proxy"},
}
ONLY_PY_KNOWS = {"pyo3", "pyo3-ffi"}
EFFECT_CRATES = {"tokio", "hyper", "hyper-util", "mio", "socket2", "libc", "rand", "getrandom", "reqwest", "rustls"}
EFFECTS = re.compile(
    r"\b(?:std::)?(?:fs|process|env|thread)::|\bstd::\{[^}]*\b(?:fs|process|env|thread)\b"
    r"|\b(?:TcpStream|TcpListener|UdpSocket|UnixStream|ToSocketAddrs)\b"
    r"|\bstd::time\b(?!::Duration)|\b(?:SystemTime|SystemRandom|tokio)\b|\b(?:Instant|Timestamp|Zoned)::now\b"
)
COMMENTS_AND_STRINGS = re.compile(r'//[^\n]*|/\*.*?\*/|r(#*)".*?"\1|"(?:\\.|[^"\\])*"', re.DOTALL)
# What answers a question with the engine itself, or owns the running data plane.
MAY_IMPORT_CORE = {"acts", "authority", "control", "draft", "registry", "runtime", "recall", "audit", "cli"}


def crates() -> dict[str, tuple[Path, dict[str, object]]]:
    found = {}
    for manifest in sorted((ROOT / "crates").glob("*/Cargo.toml")):
        data = tomllib.loads(manifest.read_text())
        found[data["package"]["name"]] = (manifest.parent, data)
    return found


def dependencies(manifest: dict[str, object], *tables: str) -> set[str]:
    return {name for table in tables for name in manifest.get(table, {})}


def test_crates_use_only_the_crates_below_them() -> None:
    tables = ("dependencies", "build-dependencies", "dev-dependencies")
    used = {name: dependencies(data, *tables) & set(MAY_USE) for name, (_, data) in crates().items()}
    assert used == MAY_USE


def test_only_the_py_crate_knows_python() -> None:
    knowing = {name for name, (_, data) in crates().items() if dependencies(data, "dependencies") & ONLY_PY_KNOWS}
    assert knowing == {"ostiary-py"}


def test_core_depends_on_nothing_that_acts() -> None:
    _, core = crates()["ostiary-core"]
    assert dependencies(core, "dependencies", "build-dependencies") & EFFECT_CRATES == set()


def test_core_forbids_unsafe_code() -> None:
    folder, _ = crates()["ostiary-core"]
    assert "#![forbid(unsafe_code)]" in (folder / "src" / "lib.rs").read_text()


def test_core_touches_no_file_socket_clock_or_randomness() -> None:
    folder, _ = crates()["ostiary-core"]
    met = {}
    for source in sorted((folder / "src").rglob("*.rs")):
        if source.name == "tests.rs" or "tests" in source.relative_to(folder).parts:
            continue
        code = COMMENTS_AND_STRINGS.sub(" ", source.read_text()).split("#[cfg(test)]")[0]
        if words := sorted({match.group(0) for match in EFFECTS.finditer(code)}):
            met[str(source.relative_to(ROOT))] = words
    assert met == {}


@pytest.mark.parametrize(
    "line", ["use std::fs;\nfs::read(p)", "use std::{fs, io};", "std::time::Instant::now()", "TcpStream::connect(a)"]
)
def test_an_effect_in_core_would_be_seen(line: str) -> None:
    assert EFFECTS.search(COMMENTS_AND_STRINGS.sub(" ", line)) is not None


def imports(source: Path) -> set[str]:
    """Every module that a file imports, wherever in the file, as absolute names."""
    package = source.relative_to(PACKAGE.parent).with_suffix("").parts[:-1]
    names: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            names |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return names


def python_imports() -> dict[str, set[str]]:
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): imports(path)
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def test_core_is_imported_only_where_the_data_plane_is_met() -> None:
    importing = {name for name, used in python_imports().items() if any(u.startswith("ostiary._core") for u in used)}
    assert {name for name in importing if name.split(".")[0] not in MAY_IMPORT_CORE} == set()


@pytest.mark.parametrize("pure", ["config", "compile", "yamlsource", "policy"])
def test_what_turns_a_file_into_a_snapshot_reaches_neither_store_nor_network(pure: str) -> None:
    forbidden = ("ostiary._core", "ostiary.store", "ostiary.runtime", "ostiary.cli", "socket", "sqlalchemy", "httpx2")
    reaching = {
        name: sorted(u for u in used if u.startswith(forbidden))
        for name, used in python_imports().items()
        if name.split(".")[0] == pure
    }
    assert {name: used for name, used in reaching.items() if used} == {}
