"""The imports between the modules of the product, read from their sources: who imports whom, and where.

`graph()` is the whole of it. A module is named as Python names it; a package is the module of its `__init__.py`.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("orchestration", "assets", "training", "expectations")
STAGES = (
    *("requests", "ingestion", "curation", "consent", "warehouse", "coverage", "dataset", "model", "evaluation"),
    *("release", "withdrawals"),
)
# From the bottom up: a room imports what stands before it, never what stands behind it. What else is in `assets` is ground.
ORDER = ("ground", "serving", *STAGES, "orchestration")


@dataclass(frozen=True)
class Import:
    """One import statement of a module of ours."""

    module: str
    line: int
    target: str
    deferred: bool  # inside a function
    typing: bool  # for the type checker only

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


@dataclass(eq=False)
class Graph:
    """All modules with their files, the imports among them, and the libraries that each loads when it is imported."""

    files: Mapping[str, Path]
    imports: list[Import] = field(default_factory=list)
    libraries: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # at once
    tops: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # all, wherever in the file, ours too

    @cache  # noqa: B019 (one graph a process)
    def loads(self, module: str) -> frozenset[str]:
        """Every library that importing `module` loads, through other modules of ours, too."""
        at_once: dict[str, set[str]] = defaultdict(set)
        for item in self.imports:
            if not item.deferred and not item.typing:
                at_once[item.module].add(item.target)
        seen, waiting = set(), {module}
        while waiting:
            name = waiting.pop()
            seen.add(name)
            waiting |= at_once[name] - seen
        return frozenset(library for name in seen for library in self.libraries.get(name, ()))

    def circles(self) -> list[list[str]]:
        """Groups of modules that import each other, directly or not; the type checker's imports count."""
        targets: dict[str, set[str]] = defaultdict(set)
        for item in self.imports:
            targets[item.module].add(item.target)
        reach = {name: _reached(name, targets) for name in self.files}
        together = {frozenset(other for other in reach[name] if name in reach[other]) for name in self.files}
        return sorted(sorted(group) for group in together if group)

    def rooms(self) -> dict[str, set[str]]:
        """For each room, the rooms that its modules import."""
        targets: dict[str, set[str]] = {room(name): set() for name in self.files}
        for item in self.imports:
            if room(item.module) != room(item.target):
                targets[room(item.module)].add(room(item.target))
        return targets


def _reached(start: str, targets: Mapping[str, set[str]]) -> set[str]:
    """What `start` imports, directly or not; itself only where a way leads back."""
    seen: set[str] = set()
    waiting = set(targets.get(start, ()))
    while waiting:
        name = waiting.pop()
        seen.add(name)
        waiting |= set(targets.get(name, ())) - seen
    return seen


def room(module: str) -> str:
    """The package that a module belongs to; modules right below `assets` are rooms of their own."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "assets" else parts[0]


def rank(module: str) -> int:
    """The place in `ORDER`. `training` and `expectations` are below everything and import nothing of ours but themselves."""
    top, *rest = module.split(".")
    if top != "assets":
        return ORDER.index(top) if top in ORDER else -1
    return ORDER.index(rest[0]) if rest and rest[0] in ORDER else 0


@cache
def graph() -> Graph:
    """The product's imports as they stand in the working tree."""
    files = {name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}
    result = Graph(files)
    for module, path in files.items():
        tree = ast.parse(path.read_text())
        deferred = {id(node) for function in _functions(tree) for node in ast.walk(function)}
        typing = {id(node) for block in _type_checking(tree) for node in ast.walk(block)}
        for node in ast.walk(tree):
            for target in _targets(node, files):
                result.tops[module].add(target.split(".")[0])
                if target in files:
                    if target != module:
                        item = Import(module, node.lineno, target, id(node) in deferred, id(node) in typing)  # type: ignore[attr-defined]
                        result.imports.append(item)
                elif id(node) not in deferred | typing:
                    result.libraries[module].add(target.split(".")[0])
    return result


def name(path: Path) -> str:
    """The dotted name of a file below the root."""
    return path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")


def _targets(node: ast.AST, files: Mapping[str, Path]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        for alias in node.names:
            submodule = f"{node.module}.{alias.name}"
            yield submodule if submodule in files else node.module


def _functions(tree: ast.AST) -> Iterator[ast.AST]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _type_checking(tree: ast.AST) -> Iterator[ast.AST]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
