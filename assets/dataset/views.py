"""Local views: what a process on this machine may see of the store, as a folder.

Training reads plain files and knows no store. A view holds exactly the files that it was made for, under their last names,
as links to the store's own files (or to fetched copies if the store is remote): nothing is copied twice, and nothing else is
in reach.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from assets.home import Home
from training.consent.canonical import sha256_hex


def local_view(home: Home, keys: Iterable[str]) -> Path:
    """A folder with a link for each key. Raises FileNotFoundError for what is not in the store."""
    keys = sorted(keys)
    folder = home.scratch("views") / sha256_hex("\n".join(keys).encode())[:24]
    folder.mkdir(exist_ok=True)
    for key in keys:
        link, target = folder / Path(key).name, home.store.fetch(key)
        if not (link.is_symlink() and link.readlink() == target):
            link.unlink(missing_ok=True)
            link.symlink_to(target)
    return folder
