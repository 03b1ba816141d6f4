"""Which identities some camera saw at the same time: they are two people, however alike. Pure."""

from collections.abc import Iterable

Pair = tuple[int, int]


class Company:
    """Pairs of identities that are two people; grows with what is seen, shrinks with who is forgotten.

    Args:
        pairs: known from before.
    """

    def __init__(self, pairs: Iterable[Pair] = ()) -> None:
        self._beside: dict[int, set[int]] = {}
        self._new: list[Pair] = []
        for one, other in pairs:
            self._join(one, other)

    def of(self, identity_id: int) -> set[int]:
        """Everybody ever seen beside this identity; the caller's to change."""
        return set(self._beside.get(identity_id, ()))

    def note(self, identity_id: int, others: set[int]) -> None:
        """Notes that the others were seen beside this identity."""
        for other in others - self._beside.get(identity_id, set()) - {identity_id}:
            self._join(identity_id, other)
            self._new.append((identity_id, other))

    def unite(self, identity_id: int, replaces: int) -> None:
        """Moves the company of `replaces` to `identity_id`, as when both turned out one person."""
        for other in self._leave(replaces) - {identity_id}:
            self._join(identity_id, other)

    def forget(self, identity_id: int) -> None:
        """Drops an identity."""
        self._leave(identity_id)

    def take_new(self) -> tuple[Pair, ...]:
        """The pairs noted since the last call."""
        new, self._new = tuple(self._new), []
        return new

    def _join(self, one: int, other: int) -> None:
        self._beside.setdefault(one, set()).add(other)
        self._beside.setdefault(other, set()).add(one)

    def _leave(self, identity_id: int) -> set[int]:
        others = self._beside.pop(identity_id, set())
        for other in others:
            self._beside[other].discard(identity_id)
        return others
