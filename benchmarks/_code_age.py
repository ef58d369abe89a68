"""Whether code has changed between commits in anything that it does, wherever it lies.

What counts is what each definition does (`benchmarks/_definitions.py`). One that is in another file now, in a folder of
another name, or public under the name that it had, has not changed. A new definition is no change: whoever uses it is
one. Unless it may act without that: an entry in a table, a method that an operator calls or that overrides another.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks._definitions import LOOSE, Code, read

Tree = dict[str, str]
"""The blobs of files, by their paths."""

NOTHING = Code({})
BEGINNING = re.compile(r"^(?:async def |def |class )?_?(\w+)", re.MULTILINE)
"""What a line that is not indented may define."""


class HistoryError(Exception):
    """A commit or a path that the history does not have."""


@dataclass
class History:
    """The history of a repository, read by `git`.

    Attributes:
        root: the folder of the repository.
    """

    root: Path
    _trees: dict[str, Tree] = field(default_factory=dict)
    _texts: dict[str, str] = field(default_factory=dict)
    _begun: dict[str, frozenset[str]] = field(default_factory=dict)
    _codes: dict[str, Code] = field(default_factory=dict)

    def changed(self, since: Sequence[str], parts: Sequence[str]) -> dict[str, list[str]]:
        """What of some files, and of all in some folders, does something else now than at each of some commits.

        Args:
            since: the commit whose code ran; behind it those up to which changes were read and accepted.
            parts: paths of files and folders, of now.

        Returns:
            The names of definitions, by the paths of the files in which they are now, or were.

        Raises:
            HistoryError: there is no such commit, or no such file or folder now.
        """
        found = {path: self._changed(since, path, part) for part in parts for path in self._paths(since, part)}
        return {path: names for path, names in found.items() if names}

    def last(self, path: str) -> str:
        """The last commit that touched a file, as its hash and its date."""
        return self._git("log", "-1", "--format=%h of %as", "HEAD", "--", path).decode().strip()

    def holds(self, commit: str) -> bool:
        """Whether a commit is part of what led to `HEAD`."""
        asked = ["git", "merge-base", "--is-ancestor", commit, "HEAD"]
        return subprocess.run(asked, cwd=self.root, capture_output=True, check=False).returncode == 0

    def _paths(self, since: Sequence[str], part: str) -> list[str]:
        """The files that a path is, or that are in it as a folder, at any of some commits or now."""
        if not _under(self._tree("HEAD"), part):
            raise HistoryError(f"there is no {part}")
        return sorted({path for commit in (*since, "HEAD") for path in _under(self._tree(commit), part)})

    def _changed(self, since: Sequence[str], path: str, part: str) -> list[str]:
        if len({self._tree(commit).get(path) for commit in (*since, "HEAD")}) == 1:
            return []
        before, now = [self._code(commit, path) for commit in since], self._code("HEAD", path)
        old = {name for code in before for name in code.does if not self._is_kept(since, path, name)}
        came = {name for name in now.does if not any(name in code.does for code in before)}
        unknown = {name for name in came if not self._is_kept(since, path, name)}
        # A file that is new in all its parts cannot be what was measured, unless it came into a folder that was.
        is_new = unknown == set(now.does) and not any(_under(self._tree(commit), part) for commit in since)
        was_imported = {name for code in before for name in code.imports}
        moved = {name for name in unknown if any(self._has_moved(commit, path, name) for commit in since)}
        return sorted(old | moved | (unknown if is_new else unknown & (now.acts | was_imported)))

    def _has_moved(self, commit: str, path: str, name: str) -> bool:
        """Whether a file that had a definition of this name has it no more."""
        others = self._naming(commit, path, name.partition(".")[0])
        return any(
            name in self._code(commit, other).does and name not in self._code("HEAD", other).does for other in others
        )

    def _is_kept(self, since: Sequence[str], path: str, name: str) -> bool:
        """Whether a definition does now what it did at one of some commits, or was gone by the last of them."""
        now = self._standing("HEAD", path, name)
        was = [self._standing(commit, path, name) for commit in since]
        return not now.isdisjoint(set().union(*was)) if now else not was[-1]

    def _standing(self, commit: str, path: str, name: str) -> set[str]:
        """What a name of a file stands for: digests of its definition there, or in the module that it is imported
        from, else of all that have it elsewhere."""
        here = self._code(commit, path)
        owner, _, method = name.partition(".")
        if owner in here.does:
            return {here.does[name]} if name in here.does else set()
        if owner in here.imports:
            module, there = here.imports[owner]
            found = [self._standing(commit, other, _joined(there, method)) for other in self._files(commit, module)]
        else:
            others = (self._code(commit, other) for other in self._naming(commit, path, owner) if other != path)
            found = [{code.does[name]} for code in others if name in code.does]
        return set[str]().union(*found)

    def _files(self, commit: str, module: str) -> list[str]:
        """The file of a module, if it is one of ours."""
        stem = module.replace(".", "/")
        named = (f"{stem}.py", f"{stem}/__init__.py", f"src/{stem}.py", f"src/{stem}/__init__.py")
        return [path for path in named if path in self._tree(commit)]

    def _naming(self, commit: str, path: str, name: str) -> list[str]:
        """The files that may define a name: what stands loose in a file is looked for in files of its name."""
        tree = self._tree(commit)
        if name == LOOSE:
            return [other for other in tree if Path(other).name == Path(path).name]
        programs = {other: blob for other, blob in tree.items() if other.endswith(".py")}
        self._fetch(programs.values())
        return [other for other, blob in programs.items() if name in self._begun[blob]]

    def _fetch(self, blobs: Iterable[str]) -> None:
        """Read files, all at once: a process for each takes minutes."""
        wanted = [blob for blob in dict.fromkeys(blobs) if blob not in self._texts]
        rest = self._git("cat-file", "--batch", given="\n".join(wanted).encode()) if wanted else b""
        for blob in wanted:
            about, _, rest = rest.partition(b"\n")
            size = int(about.split()[2])
            self._texts[blob], rest = rest[:size].decode(errors="replace"), rest[size + 1 :]
            self._begun[blob] = frozenset(BEGINNING.findall(self._texts[blob]))

    def _tree(self, commit: str) -> Tree:
        """The blobs of all files of a commit."""
        if commit not in self._trees:
            rows = self._git("ls-tree", "-r", commit).decode().splitlines()
            self._trees[commit] = {path: about.split()[2] for about, path in (row.split("\t") for row in rows)}
        return self._trees[commit]

    def _code(self, commit: str, path: str) -> Code:
        """A file at a commit: none of it where it was not there. What is not Python is one loose thing."""
        if (blob := self._tree(commit).get(path)) is None:
            return NOTHING
        if not path.endswith(".py"):
            return Code({LOOSE: blob})
        if blob not in self._codes:
            self._fetch([blob])
            self._codes[blob] = read(self._texts[blob])
        return self._codes[blob]

    def _git(self, *arguments: str, given: bytes = b"") -> bytes:
        done = subprocess.run(["git", *arguments], cwd=self.root, input=given, capture_output=True, check=False)
        if done.returncode:
            why = done.stderr.decode().strip()
            raise HistoryError(f"git {' '.join(arguments)}: {why} (is the whole history there?)")
        return done.stdout


def _joined(owner: str, method: str) -> str:
    return f"{owner}.{method}" if method else owner


def _under(tree: Tree, part: str) -> Tree:
    """Those files of a tree that a path is, or that are in it as a folder."""
    return {path: blob for path, blob in tree.items() if path == part or path.startswith(f"{part}/")}
