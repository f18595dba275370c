"""The house: imports go one way, no circles, short functions and files, clear names, one language.

The rules are those of CONTRIBUTING.md. What a rule still allows stands in a list here, with its reason. A
name that is no longer needed there fails, too.
"""

import ast
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from lab.bootstrap import ROOT

THE_FOUR = ("xmlrpc", "pyro4", "redis_impl", "rabbitmq")
MAY_IMPORT = {
    "lab": {"lab"},
    **{one: {one, "lab"} for one in THE_FOUR},
    "dynamic": {"dynamic", "rabbitmq", "lab"},
    "contrib": {"contrib", "lab"},
    "machines": {"machines", "lab"},
    "watch": {"watch", "dynamic", "lab"},
    "harness": {"harness", "machines", "dynamic", *THE_FOUR, "lab"},
}
"""What the files of each package may import, by a statement or by a string. Tests may import all."""
COMMANDS = "lab/cli/commands.py"
"""The table of commands: the one file of `lab` that names modules above it, and it imports none of them."""
NAMES_MODULES = {COMMANDS, "lab/middleware.py", "lab/options.py"}
KNOWN_CIRCLES = [{"pyro4", "pyro4.tuned"}]
"""A package and its subpackage."""
MOST_LINES_OF_A_FUNCTION = 40
MOST_LINES = 400
LONG_FILES: dict[str, str] = {}
"""By name, with the reason."""
MOST_ROOT_MODULES = 15
WORDS = {
    r"mend(s|ed|ing)?": "fix",
    r"patien(ce|tly)": "timeout, probe, retry",
    r"outlast(s|ed|ing)?": "timeout",
    r"tether(s|ed)?|lifeline": "parent-death signal",
    r"foreman": "main-thread executor",
    r"lanes?": "executor, consumer",
    r"treatments?": "delivery outcome",
    r"suspects?": "retry queue",
    r"bur(y|ied|ies)": "dead-letter",
    r"plain[ _](message|call)s?": "fast path",
    r"instant[ _]operations?": "non-blocking operations",
    r"hear(s|ing|d)?[ _]out": "lingering close",
    r"rehears(e|ed|es|als?)": "fault hook",
    r"outlook|staffing": "forecast, capacity formula",
    r"memory back": "return freed heap to the operating system",
    r"oracle": "the reference policy; the optimum",
    r"who(m)?ever": "who, or a noun",
    r"in vain": "without success",
}
"""Words of our own that nobody else knows, and what the field says."""
NAMES_OF_NOTHING = {"missing", "joining", "rehearsal", "bars", "sides", "terms", "words", "slots", "utils"}
"""Names that do not say what a module is for."""
SAME_NAME_ALLOWED = {"__init__", "__main__", "conftest"}


def files(*patterns: str) -> list[str]:
    """Return the files under version control, by their paths from the root."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [path for path in listed.stdout.splitlines() if (ROOT / path).exists()]


def module_of(path: str) -> str:
    """Return the dotted name of the file *path*."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@cache
def modules() -> Mapping[str, str]:
    """Return every module of ours and its file."""
    packages = (*MAY_IMPORT, "tests")
    return {module_of(path): path for path in files("*.py") if path.partition("/")[0] in packages}


@cache
def tree_of(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def ours(name: str) -> str:
    """Return the module of ours that *name* is or lies in; empty: none."""
    while name and name not in modules():
        name = name.rpartition(".")[0]
    return name


@cache
def imported(path: str) -> frozenset[str]:
    """Return the modules of ours that the file *path* imports by statements."""
    return frozenset(_imported(path))


def _imported(path: str) -> Iterator[str]:
    """Yield the modules of ours that the file *path* imports by statements."""
    package = module_of(path) if path.endswith("__init__.py") else module_of(path).rpartition(".")[0]
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (ours(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1])
            base = ".".join(part for part in (above if node.level else "", node.module) if part)
            yield from (ours(f"{base}.{alias.name}") for alias in node.names)


def named(path: str) -> Iterator[str]:
    """Yield the modules that strings of *path* name: of import_module, of ``-m``, of a process to start."""
    documentation = {
        id(node.value)
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            word = node.value.partition(":")[0]
            if re.fullmatch(r"[a-z_0-9]+(\.[a-z_0-9]+)+", word) and word in modules():
                yield word


def package_of(module: str) -> str:
    """Return the folder of *module* as a package."""
    return ".".join(Path(modules()[module]).parent.parts)


def circles(graph: Mapping[str, set[str]]) -> list[set[str]]:
    """Return the groups of names that reach each other."""
    reached = {name: reach(graph, name) for name in graph}
    groups = {frozenset(o for o in reached[n] if n in reached.get(o, ())) for n in graph}
    return [set(group) for group in groups if len(group) > 1]


def reach(graph: Mapping[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    left = [start]
    while left:
        for name in graph.get(left.pop(), ()):
            if name not in seen:
                seen.add(name)
                left.append(name)
    return seen


@cache
def import_graph() -> Mapping[str, set[str]]:
    """Return which module imports which; the file that starts the command line is above its package."""
    return {
        module: {one for one in imported(path) if one and one != module}
        for module, path in modules().items()
        if module not in ("lab", "lab.__main__")
    }


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_is_below_it_by_strings_too(package: str) -> None:
    wrong = set()
    for module, path in modules().items():
        if module.partition(".")[0] != package:
            continue
        found = set(imported(path)) | (set() if path in NAMES_MODULES else set(named(path)))
        others = {one.partition(".")[0] for one in found if one}
        wrong |= {f"{path} -> {other}" for other in others - MAY_IMPORT[package]}
    assert not wrong


def test_the_table_of_commands_names_modules_that_exist_and_imports_none_of_them() -> None:
    assert set(named(COMMANDS)) >= {"tests.run", "watch.command", "lab.cli.serve"}
    assert {one.partition(".")[0] for one in imported(COMMANDS) if one} == {"lab"}


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circles(import_graph()) == []


def test_no_packages_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = defaultdict(set)
    for module, others in import_graph().items():
        graph[package_of(module)] |= {package_of(other) for other in others} - {package_of(module)}
    # xmlrpc is a package of the standard library, too, whose modules are not ours.
    graph["xmlrpc.tuned"].discard("xmlrpc")
    assert circles(graph) == KNOWN_CIRCLES


def test_each_package_at_the_root_says_what_it_is_for() -> None:
    """Without an ``__init__.py``, an installed package of the same name would be imported in its place."""
    for package in (*MAY_IMPORT, "tests"):
        assert ast.get_docstring(tree_of(f"{package}/__init__.py"))


def test_the_root_of_the_lab_holds_few_modules() -> None:
    assert len(files("lab/*.py", ":!lab/*/*")) <= MOST_ROOT_MODULES


def test_no_function_is_long() -> None:
    long = [
        f"{path}: {node.name} has {node.end_lineno - node.lineno + 1} lines"
        for path in modules().values()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > MOST_LINES_OF_A_FUNCTION
    ]
    assert not long


def test_a_long_file_is_named_with_its_reason() -> None:
    long = {
        path
        for path in modules().values()
        if len((ROOT / path).read_text(encoding="utf-8").splitlines()) > MOST_LINES
    }
    assert long == set(LONG_FILES)


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert not {path for path in modules().values() if Path(path).stem.strip("_") in NAMES_OF_NOTHING}


def test_no_two_modules_of_a_package_have_names_that_cannot_be_told_apart() -> None:
    """`jobs` and `job`, `_words` and `words`: a reader looks into the wrong one."""
    alike = defaultdict(set)
    for path in modules().values():
        if Path(path).stem not in SAME_NAME_ALLOWED:
            alike[
                (path.partition("/")[0], str(Path(path).parent), Path(path).stem.strip("_").rstrip("s"))
            ].add(path)
    assert [group for group in alike.values() if len(group) > 1] == []


@pytest.mark.parametrize("word", WORDS)
def test_the_words_are_those_of_the_field(word: str) -> None:
    pattern = re.compile(rf"(?<![a-z])({word})(?![a-z])", re.IGNORECASE)
    found = {
        path
        for path in files("*.py", "*.md", "*.js", "*.html", "*.lua")
        if path not in ("tests/test_house.py", "CHANGELOG.md")
        and pattern.search((ROOT / path).read_text(encoding="utf-8"))
    }
    assert not found, f"write: {WORDS[word]}"


@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("a direct middleware", 10),
        ("an indirect middleware", 10),
        ("One measurement", 12),
        ("One decision", 8),
    ],
)
def test_a_path_through_the_house_is_short(path: str, most: int) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    steps = text.partition(path)[2].partition("\n**")[0].partition("\n## ")[0]
    named_here = set(re.findall(r"`((?:[a-z_0-9]+/)+[a-z_0-9]+\.py)`", steps))
    assert 5 < len(named_here) <= most
