"""Whether code has changed between two commits in anything that it does.

Comments, docstrings, the layout, what an error says, types of arguments and from where a name is imported are no
changes; a file that is elsewhere now is none either. All else is, a renamed variable too.
"""

from __future__ import annotations

import ast
import hashlib
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Tree = dict[str, str]
"""The blobs of files, by their paths."""


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
    _digests: dict[str, str] = field(default_factory=dict)

    def changed(self, commit: str, parts: Sequence[str]) -> list[str]:
        """Those of some files, and of all in some folders, that do something else now than at a commit, or are gone.

        A file that came into a folder since is no change: whoever uses it is one. The names are those of now.

        Raises:
            HistoryError: there is no such commit, or no such file or folder now.
        """
        before, now = self._tree(commit), self._tree("HEAD")
        return [path for part in parts for path in self._changed(part, before, now)]

    def last(self, path: str) -> str:
        """The last commit that touched a file, as its hash and its date."""
        return self._git("log", "-1", "--format=%h of %as", "HEAD", "--", path).strip()

    def holds(self, commit: str) -> bool:
        """Whether a commit is part of what led to `HEAD`."""
        asked = ["git", "merge-base", "--is-ancestor", commit, "HEAD"]
        return subprocess.run(asked, cwd=self.root, capture_output=True, check=False).returncode == 0

    def _changed(self, part: str, before: Tree, now: Tree) -> Iterator[str]:
        old, new = _under(before, part), _under(now, part)
        if not new:
            raise HistoryError(f"there is no {part}")
        for path, blob in new.items():
            if path in old:
                if blob != old[path] and self._digest(path, blob) != self._digest(path, old[path]):
                    yield path
            elif not old and not self._is_in(before, path, blob):
                yield path
        yield from (path for path in old if path not in new and not self._is_in(now, path, old[path]))

    def _is_in(self, tree: Tree, path: str, blob: str) -> bool:
        """Whether a file is there in some folder, under its name."""
        same = [other for other in tree if Path(other).name == Path(path).name]
        return any(self._digest(other, tree[other]) == self._digest(path, blob) for other in same)

    def _tree(self, commit: str) -> Tree:
        """The blobs of all files of a commit."""
        if commit not in self._trees:
            rows = self._git("ls-tree", "-r", commit).splitlines()
            self._trees[commit] = {path: about.split()[2] for about, path in (row.split("\t") for row in rows)}
        return self._trees[commit]

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

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        return ast.Raise(exc=error, cause=None)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(node.arg)

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        match node:
            case ast.Module(body=body) | ast.ClassDef(body=body) | ast.FunctionDef(body=body):
                body[:] = [line for line in body if not _is_silent(line)]
        return super().generic_visit(node)


def _is_silent(line: ast.stmt) -> bool:
    is_text = isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)
    return is_text or isinstance(line, ast.Import | ast.ImportFrom)


def _under(tree: Tree, part: str) -> Tree:
    """Those files of a tree that a path is, or that are in it as a folder."""
    return {path: blob for path, blob in tree.items() if path == part or path.startswith(f"{part}/")}
