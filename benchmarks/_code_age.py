"""Whether code has changed between two commits in anything that it does.

Comments, docstrings, the way it is laid out, what an error says, and in which module an imported name stands are no changes;
a file that is elsewhere is none either. All else is, a renamed variable too.
"""

from __future__ import annotations

import ast
import hashlib
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


class HistoryError(Exception):
    """A commit or a path that the history does not have."""


@dataclass
class History:
    """The history of a repository, read by `git`.

    Attributes:
        root: the folder of the repository.
    """

    root: Path
    _trees: dict[str, dict[str, str]] = field(default_factory=dict)
    _digests: dict[str, str] = field(default_factory=dict)

    def changed(self, commit: str, parts: Sequence[str], until: str = "HEAD") -> list[str]:
        """The files of some files and folders, as they were at a commit, that do something else now or are gone.

        A file that came since is no change: whoever uses it is one.

        Raises:
            HistoryError: there is no such commit, or nothing of that name in it or in what is there now.
        """
        before, now = self._files(commit, parts), self._files(until, parts)
        for part in parts:
            if not _under(before, [part]):
                raise HistoryError(f"commit {commit} has no {part}")
        moved = [path for path in before if path not in now]
        there = {self._digest(path, blob) for path, blob in now.items()} if moved else set[str]()
        return [
            path
            for path, blob in before.items()
            if (self._digest(path, blob) not in there if path in moved else self._differ(path, blob, now[path]))
        ]

    def last(self, path: str) -> str:
        """The last commit that touched a file, as its hash and its date."""
        return self._git("log", "-1", "--format=%h of %as", "HEAD", "--", path).strip()

    def holds(self, commit: str) -> bool:
        """Whether a commit is part of what led to `HEAD`."""
        asked = ["git", "merge-base", "--is-ancestor", commit, "HEAD"]
        return subprocess.run(asked, cwd=self.root, capture_output=True, check=False).returncode == 0

    def _files(self, commit: str, parts: Sequence[str]) -> dict[str, str]:
        """The blobs of files by path."""
        if commit not in self._trees:
            rows = self._git("ls-tree", "-r", commit).splitlines()
            self._trees[commit] = {path: about.split()[2] for about, path in (row.split("\t") for row in rows)}
        return _under(self._trees[commit], parts)

    def _differ(self, path: str, one: str, other: str) -> bool:
        return one != other and self._digest(path, one) != self._digest(path, other)

    def _digest(self, path: str, blob: str) -> str:
        if blob not in self._digests:
            content = self._git("cat-file", "blob", blob) if path.endswith(".py") else None
            self._digests[blob] = blob if content is None else does(content)
        return self._digests[blob]

    def _git(self, *arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=self.root, capture_output=True, text=True, check=False)
        if done.returncode:
            raise HistoryError(f"git {' '.join(arguments)}: {done.stderr.strip()} (is the whole history there?)")
        return done.stdout


def does(source: str) -> str:
    """A digest of what a Python program does.

    >>> does("def f(x):\\n    '''Says.'''\\n    return x  # so") == does("def f(x): return x")
    True
    """
    tree = _Plain().visit(ast.parse(source))
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


class _Plain(ast.NodeTransformer):
    """Takes out what changes no result."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        names = sorted(node.names, key=lambda alias: alias.name)
        return ast.ImportFrom(module="", names=names, level=0)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        return ast.Raise(exc=error, cause=None)

    def generic_visit(self, node: ast.AST) -> ast.AST:
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [line for line in body if not _is_text(line)]  # type: ignore[attr-defined]
        return super().generic_visit(node)


def _is_text(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)


def _under(tree: dict[str, str], parts: Sequence[str]) -> dict[str, str]:
    """The files of a tree that are one of some paths, or in one of them as a folder."""
    return {
        path: blob
        for path, blob in tree.items()
        if any(path == part or path.startswith(f"{part}/") for part in parts)
    }
