"""Match paths with globs: `*` stays within one name, `**` stands for any number of directories."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

EVERYTHING = "**"
_WILDCARD = re.compile(r"[*?\[]")


def is_glob(path: str) -> bool:
    """Return whether a path contains glob characters."""
    return _WILDCARD.search(path) is not None


def literal(name: str) -> str:
    """Return a glob that matches only this name."""
    return re.sub(r"([*?\[])", r"[\1]", name)


def matches_any(path: str, globs: Sequence[str]) -> bool:
    """Return whether one of some globs matches a relative path."""
    return any(glob == EVERYTHING or matches(path, glob) for glob in globs)


def matches(path: str, glob: str) -> bool:
    """Return whether a glob matches a relative path as a whole, name by name."""
    names, globs = path.split("/"), glob.split("/")
    if EVERYTHING in globs:
        index = globs.index(EVERYTHING)
        head, tail = globs[:index], globs[index + 1 :]
        if not all(fnmatchcase(name, wanted) for name, wanted in zip(names, head, strict=False)):
            return False
        if not tail:
            return len(names) > len(head)
        return any(matches("/".join(names[cut:]), "/".join(tail)) for cut in range(len(head), len(names)))
    return len(names) == len(globs) and all(map(fnmatchcase, names, globs))
