"""Draws the imports between the rooms of the product into ARCHITECTURE.md: `python -m tests.architecture.draw`."""

from __future__ import annotations

from collections.abc import Mapping

from tests.architecture.imports import ORDER, ROOT, STAGES, graph, rank

PAGE = ROOT / "ARCHITECTURE.md"
BEGIN, END = "<!-- drawn by python -m tests.architecture.draw -->\n", "<!-- end of the drawing -->"


def picture() -> str:
    """The rooms and the imports between them as Mermaid, without arrows that follow from others."""
    rooms = graph().rooms()
    lines = ["```mermaid", "flowchart TD"]
    in_assets = sorted(name for name in rooms if name.startswith("assets."))
    stages = [f"assets.{name}" for name in STAGES]
    for title, names in {"stages": stages, "ground floor": [name for name in in_assets if name not in stages]}.items():
        lines += [f"    subgraph {title.replace(' ', '_')}[{title}]"]
        lines += [f"        {name}[{name.removeprefix('assets.')}]" for name in names] + ["    end"]
    for source in sorted(rooms, key=lambda name: (-rank(name), name)):
        lines += [f"    {source} --> {target}" for target in sorted(_direct(source, rooms))]
    return "\n".join([*lines, "```", ""])


def _direct(source: str, rooms: Mapping[str, set[str]]) -> set[str]:
    """The rooms that `source` imports and none of its other imports leads to."""
    led_to = {far for near in rooms[source] for far in _below(near, rooms)}
    return rooms[source] - led_to


def _below(start: str, rooms: Mapping[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = set(rooms[start])
    while waiting:
        seen |= waiting
        waiting = {far for near in waiting for far in rooms[near]} - seen
    return seen


def drawn(text: str) -> str:
    """The page with its drawing made anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + picture() + END + after


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text()))
    print(f"{PAGE.name}: {len(graph().files)} modules in {len(ORDER)} layers")
