"""The four middleware packages are parallel: same files, same public names, and none imports another.

Our package `xmlrpc` and the standard library's stay importable side by side, wherever Python starts.
"""

import ast
import multiprocessing
import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path

import pytest

from lab.bootstrap import ROOT
from lab.middleware import MIDDLEWARES

PACKAGES = tuple(MIDDLEWARES)
FILES = {
    "__init__.py",
    "insult_service.py",
    "insult_filter.py",
    "broadcaster.py",
    "subscriber.py",
    "topology.py",
    "stock.py",
}
STOCK_CLASSES = (
    "Broadcaster",
    "ServiceNode",
    "FilterNode",
    "InsultServiceClient",
    "InsultFilterClient",
    "main",
)
"""What every stock.py has, in this order; roles and helpers of its own may stand between."""
DECLARED_DIFFERENCES = {"xmlrpc": {"master.py"}, "pyro4": {"master.py", "name_server.py"}}
LIBRARIES = {
    "xmlrpc": {"xmlrpc", "httptools", "uvloop", "http"},
    "pyro4": {"Pyro4"},
    "redis_impl": {"redis"},
    "rabbitmq": {"pika"},
}
HEADINGS = ("Kind", "Broker", "Load balancing", "Delivery", "Broadcast", "Library")
PARALLEL_FILES = sorted(FILES - {"__init__.py", "stock.py"})
TUNED_FILES = {"client.py", "connection.py", "node.py", "server.py", "wire.py"}
"""What every tuned/ has: the same file where the role is the same."""
OF_THE_LAB = {"xmlrpc": {"client.py", "node.py"}}
"""What tuned/ needs no file for: it is what lab/process/direct.py makes of a wire."""
FOR_COMMANDS = ("lab.cli.", "lab.process.system.")
"""The command line and what starts whole systems: nothing of a node or a client."""
OFTEN_INHERITED = {"start", "canary", "join", "drain", "subscribe"}
"""Every node or client has them, some from a class of the lab."""


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def _imported(path: Path) -> set[str]:
    """Return the dotted names that *path* imports; those of its own package begin with a dot."""
    names: set[str] = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." * node.level + (node.module or ""))
    return names


def _public(body: list[ast.stmt], prefix: str = "") -> dict[str, str]:
    """Return the public functions, classes and methods in *body*, with their signatures."""
    found: dict[str, str] = {}
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            found[f"{prefix}{node.name}"] = "class"
            found |= _public(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            if prefix and node.name in OFTEN_INHERITED:
                continue
            found[f"{prefix}{node.name}"] = (
                f"({ast.unparse(node.args)}) -> {ast.unparse(node.returns or node)}"
            )
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_has_the_same_files_as_the_others(package: str) -> None:
    public = {path.name for path in (ROOT / package).glob("*.py") if not path.name.startswith("_")}
    assert public | {"__init__.py"} == FILES | DECLARED_DIFFERENCES.get(package, set())


@pytest.mark.parametrize("package", PACKAGES)
def test_tuned_has_the_same_files_where_the_role_is_the_same(package: str) -> None:
    wanted = TUNED_FILES - OF_THE_LAB.get(package, set())
    assert wanted <= {path.name for path in (ROOT / package / "tuned").glob("*.py")}
    assert not {path.name for path in (ROOT / package).glob("_*.py")} - {"__init__.py"}


@pytest.mark.parametrize("package", [package for package in PACKAGES if MIDDLEWARES[package].is_direct])
def test_each_module_of_tuned_says_what_of_its_library_it_replaces(package: str) -> None:
    for path in (ROOT / package / "tuned").glob("*.py"):
        assert "eplaces" in (ast.get_docstring(_tree(path)) or ""), path


@pytest.mark.parametrize("file", PARALLEL_FILES)
@pytest.mark.parametrize("package", PACKAGES[1:])
def test_a_file_has_the_same_public_names_and_signatures_in_all_four(package: str, file: str) -> None:
    first, other = (_public(_tree(ROOT / name / file).body) for name in (PACKAGES[0], package))
    assert other == first


@pytest.mark.parametrize("package", PACKAGES)
def test_stock_has_the_same_public_names_in_the_same_order(package: str) -> None:
    names = [name for name in _public(_tree(ROOT / package / "stock.py").body) if name in STOCK_CLASSES]
    assert tuple(names) == STOCK_CLASSES


@pytest.mark.parametrize("package", PACKAGES)
def test_stock_is_one_file_of_350_lines_at_most(package: str) -> None:
    assert len((ROOT / package / "stock.py").read_text(encoding="utf-8").splitlines()) <= 350


@pytest.mark.parametrize("package", PACKAGES)
def test_stock_uses_nothing_that_replaces_its_library(package: str) -> None:
    imported = _imported(ROOT / package / "stock.py")
    assert {name for name in imported if name.startswith(".")} == {".topology"}
    assert {name.partition(".")[0] for name in imported} & LIBRARIES[package]


@pytest.mark.parametrize("package", PACKAGES)
def test_the_capability_table_has_the_same_headings(package: str) -> None:
    lines = (ast.get_docstring(_tree(ROOT / package / "__init__.py")) or "").splitlines()[2:]
    assert tuple(line.partition(":")[0] for line in lines if ":" in line) == HEADINGS


@pytest.mark.parametrize("package", PACKAGES)
def test_no_package_imports_what_is_for_commands(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        assert not [name for name in _imported(path) if f"{name}.".startswith(FOR_COMMANDS)], path


def test_the_lab_does_not_import_pyro4() -> None:
    assert not [path for path in (ROOT / "lab").rglob("*.py") if "Pyro4" in _imported(path)]


@pytest.mark.parametrize("package", PACKAGES)
def test_only_stock_and_tuned_import_the_library(package: str) -> None:
    for path in (ROOT / package).glob("*.py"):
        if path.name not in ("stock.py", "__init__.py"):
            assert not {name.partition(".")[0] for name in _imported(path)} & LIBRARIES[package], path


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_has_the_name_of_a_module_of_the_standard_package(package: str) -> None:
    assert not {path.stem for path in (ROOT / package).glob("*.py")} & {"client", "server"}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_process_tells_its_options(package: str) -> None:
    for path in (ROOT / package).glob("*.py"):
        if "__main__" in path.read_text(encoding="utf-8"):
            assert "main" in _public(_tree(path).body), path


STANDARD = Path(sysconfig.get_path("stdlib")) / "xmlrpc"
BOTH = """
import xmlrpc.client, xmlrpc.server, xmlrpc.master, xmlrpc.topology
print(xmlrpc.client.__file__, xmlrpc.server.__file__, xmlrpc.master.__file__, sep="\\n")
"""


def _files_of_xmlrpc() -> list[str]:
    import xmlrpc.client
    import xmlrpc.master
    import xmlrpc.server

    return [str(module.__file__) for module in (xmlrpc.client, xmlrpc.server, xmlrpc.master)]


EXPECTED = [str(STANDARD / "client.py"), str(STANDARD / "server.py"), str(ROOT / "xmlrpc" / "master.py")]


def _same(found: list[str]) -> bool:
    return [Path(file).resolve() for file in found] == [Path(file).resolve() for file in EXPECTED]


def test_both_are_importable_from_the_root() -> None:
    done = subprocess.run([sys.executable, "-c", BOTH], cwd=ROOT, capture_output=True, text=True, check=True)
    assert _same(done.stdout.split("\n")[:-1])


def test_both_are_importable_under_pytest() -> None:
    assert _same(_files_of_xmlrpc())


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_both_are_importable_in_a_process_of_multiprocessing(method: str) -> None:
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert _same(pool.apply(_files_of_xmlrpc))


def test_ours_runs_with_m() -> None:
    command = [sys.executable, "-m", "xmlrpc.master", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "xmlrpc.master" in done.stdout


def test_pip_which_uses_the_standard_one_runs_from_the_root() -> None:
    command = [sys.executable, "-m", "pip", "--version"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0
