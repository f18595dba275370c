"""A trie of token sequences that one thread changes while others read it."""

from collections.abc import Sequence
from typing import Union

Node = dict[str, Union[int, "Node"]]
"""Child by token. A number is a leaf: how often its sequence was added. A node that is also the end of a
sequence keeps that number under END."""
END = ""


class TokenTrie:
    """Counts sequences of non-empty tokens. A call's cost depends on the sequence's length alone.

    Every change a reader can see is one assignment or deletion in a dictionary, so under the interpreter's
    lock a reader meets each sequence either there or not.
    """

    def __init__(self) -> None:
        self._root: Node = {}

    def add(self, tokens: Sequence[str]) -> None:
        """Count *tokens* once more."""
        node = self._root
        for token in tokens[:-1]:
            child = node.get(token)
            if not isinstance(child, dict):
                child = {} if child is None else {END: child}
                node[token] = child
            node = child
        last = node.get(tokens[-1], 0)
        if isinstance(last, dict):
            last[END] = _count(last) + 1
        else:
            node[tokens[-1]] = last + 1

    def remove(self, tokens: Sequence[str]) -> None:
        """Count *tokens* once less; it must have been added."""
        path = [self._root]
        for token in tokens[:-1]:
            child = path[-1][token]
            if not isinstance(child, dict):
                raise KeyError(tokens)
            path.append(child)
        last = path[-1][tokens[-1]]
        if isinstance(last, dict):
            _set_count(last, END, _count(last) - 1)
            if last:
                return
            last = 1  # what went on from here was removed before: this is a leaf again
        _set_count(path[-1], tokens[-1], last - 1)
        for parent, token, child in zip(path[-2::-1], reversed(tokens[:-1]), path[:0:-1], strict=True):
            if not child:
                del parent[token]

    def longest(self, tokens: Sequence[str], start: int) -> int:
        """Return how many of *tokens* from *start* on make the longest sequence that was added; 0: none."""
        node = self._root
        found = 0
        for place in range(start, len(tokens)):
            child = node.get(tokens[place])
            if child is None:
                break
            if not isinstance(child, dict):
                return place - start + 1
            if END in child:
                found = place - start + 1
            node = child
        return found

    def starts(self) -> Node:
        """Return the dictionary whose keys are the first tokens, for a quick look."""
        return self._root


def _count(node: Node) -> int:
    count = node.get(END, 0)
    return count if isinstance(count, int) else 0


def _set_count(node: Node, token: str, count: int) -> None:
    if count:
        node[token] = count
    else:
        del node[token]
