"""The identities on disk: one SQLite file in WAL mode, every decision committed before anybody hears of it."""

import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

import msgspec
import numpy as np

from pipeline.camera_bias import CameraMean
from pipeline.datatypes import F32, Assignment, Confirmation, Decision, Expiry, Identity, Merge, TrackKey
from pipeline.errors import DiskError, StoreError
from pipeline.matcher_state import NOTHING, Knowledge, MatcherState, survivors
from pipeline.track_variation import Variation
from pipeline.transitions import SPANS, Transition

_SCHEMA_VERSION = 4
_TABLES = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS identities (
    identity_id INTEGER PRIMARY KEY, first_seen REAL, last_seen REAL, cameras TEXT, confirmed INTEGER,
    last_camera TEXT, prototypes BLOB, weights BLOB, keys BLOB, became INTEGER, gone INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS tracks (
    camera_id TEXT, epoch INTEGER, track_id INTEGER, identity_id INTEGER NOT NULL, similarity REAL, decided_at REAL,
    PRIMARY KEY (camera_id, epoch, track_id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cameras (camera_id TEXT PRIMARY KEY, people INTEGER, mean BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS variation (only INTEGER PRIMARY KEY, changes INTEGER, squares BLOB);
CREATE TABLE IF NOT EXISTS transitions (
    came_from TEXT, came_to TEXT, chances BLOB, arrivals BLOB, PRIMARY KEY (came_from, came_to)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS parted (one INTEGER, other INTEGER, PRIMARY KEY (one, other)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS counted ON identities (became, confirmed);  -- `count` reads no prototypes
CREATE INDEX IF NOT EXISTS ended ON identities (last_seen) WHERE gone;
CREATE INDEX IF NOT EXISTS tracks_of ON tracks (identity_id);
CREATE INDEX IF NOT EXISTS tracks_by_age ON tracks (decided_at);
CREATE INDEX IF NOT EXISTS parted_from ON parted (other);
"""
# An identity and all that were merged into it, by chains of any length.
_SAME = """
WITH RECURSIVE same (who) AS (VALUES (?) UNION SELECT identity_id FROM identities JOIN same ON became = who)
"""
_KEPT_S = 8 * 3600.0  # a track decided longer ago is hardly still in view; bounds the file and what a restart reads
_ENDED = "gone AND last_seen < ? AND identity_id < (SELECT MAX(identity_id) FROM identities)"  # the next number stays


class _IdentityRow(msgspec.Struct, frozen=True, array_like=True):
    identity_id: int
    first_seen: float
    last_seen: float
    cameras: str
    confirmed: int
    last_camera: str
    prototypes: bytes
    weights: bytes
    keys: bytes


_Row = TypeVar("_Row")


class Known(msgspec.Struct, frozen=True, eq=False):
    """An identity as it is to be stored: its facts and the track behind each prototype."""

    identity: Identity
    keys: tuple[TrackKey | None, ...]


class Store:
    """Identity store of one run directory; `with` opens it.

    Args:
        path: the database file, made when missing.
        dimension: D; a store of another descriptor length is refused.
        bias_removed: whether prototypes are without what their camera adds; a store of others is refused.
        replayed: whether a replay writes it, which the next replay may replace.
        network: digest of the network that describes; a store of another one's descriptors is refused. "" is not asked.

    Raises:
        StoreError: on opening, when the file is not such a store or cannot be written.
        DiskError: on opening, when the disk is full.
    """

    def __init__(
        self, path: Path, dimension: int, *, bias_removed: bool = True, network: str = "", replayed: bool = False
    ) -> None:
        self._path = path
        self._run = "replay" if replayed else "live"
        self._dimension = dimension
        self._bias = "removed" if bias_removed else "left"
        self._network = network

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            try:
                self._db = undo.enter_context(closing(sqlite3.connect(self._path, isolation_level=None, timeout=5.0)))
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=NORMAL")
                self._db.executescript(_TABLES)
                self._take_over()
            except sqlite3.Error as error:
                raise _unopened(self._path, error) from error
            undo.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._db.close()

    def _take_over(self) -> None:
        """Notes what the store is of; nothing, where it is of something else."""
        elsewhere = "or use another run directory"
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._check("schema", str(_SCHEMA_VERSION), f"run the version that wrote it, {elsewhere}")
            self._check("dimension", str(self._dimension), f"use the re-ID model that wrote it, {elsewhere}")
            self._check("camera bias", self._bias, f"set matcher.remove_camera_bias back, {elsewhere}")
            if self._network:
                self._check("network", self._network[:16], f"set reid.model back, {elsewhere}")
            self._db.execute("INSERT OR REPLACE INTO facts VALUES ('run', ?)", (self._run,))
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def record(
        self,
        decisions: Sequence[Decision],
        changed: Iterable[Known],
        parted: Iterable[tuple[int, int]] = (),
        learnt: Knowledge = NOTHING,
    ) -> None:
        """Commits decisions and the state of the identities they touch, all or nothing.

        Tracks and ended identities of hours ago are dropped.

        Args:
            parted: pairs of identities that are two people.
            learnt: in place of what was known of the same.

        Raises:
            StoreError: nothing of it was written, as on a full disk; the caller keeps it and tries again.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for known in changed:
                self._put_identity(known)
            self._db.executemany("INSERT OR IGNORE INTO parted VALUES (?, ?)", parted)
            self._put_learnt(learnt)
            for decision in decisions:
                self._put(decision)
            self._drop_before(_outdated(decisions))
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise StoreError(f"{self._path}: cannot write: {error}; free space there, nothing is lost yet") from error

    def load(self) -> MatcherState:
        """Where the last matcher stopped.

        Raises:
            StoreError: the file is damaged.
        """
        try:
            became = survivors(
                dict(self._rows(tuple[int, int], "identity_id, became FROM identities WHERE became NOTNULL"))
            )
            known = "identity_id, first_seen, last_seen, cameras, confirmed, last_camera, prototypes, weights, keys"
            identities = self._rows(_IdentityRow, f"{known} FROM identities WHERE NOT gone ORDER BY identity_id")
            tracks = self._rows(tuple[str, int, int, int], "camera_id, epoch, track_id, identity_id FROM tracks")
            pairs = self._rows(tuple[int, int], "one, other FROM parted")
            means = self._rows(tuple[str, int, bytes], "camera_id, people, mean FROM cameras ORDER BY camera_id")
            varied = self._rows(tuple[int, bytes], "changes, squares FROM variation")
            ways = self._rows(tuple[str, str, bytes, bytes], "came_from, came_to, chances, arrivals FROM transitions")
            ((highest,),) = self._rows(tuple[int], "COALESCE(MAX(identity_id), 0) FROM identities")
            return MatcherState(
                identities=tuple(self._identity(row) for row in identities),
                tracks={TrackKey(camera, epoch, track): became.get(who, who) for camera, epoch, track, who in tracks},
                next_identity_id=highest + 1,
                parted=tuple((became.get(one, one), became.get(other, other)) for one, other in pairs),
                learnt=Knowledge(
                    means=tuple(self._camera_mean(*row) for row in means),
                    variation=self._variation(*varied[0]) if varied else None,
                    transitions=tuple(_transition(*row) for row in ways),
                ),
            )
        except (sqlite3.Error, msgspec.MsgspecError, ValueError) as error:
            raise StoreError(
                f"{self._path}: the identity store is damaged: {error}; restore a backup, or use another run directory"
            ) from error

    def count(self) -> int:
        """Different people confirmed so far, those forgotten since included."""
        dropped = "SELECT COALESCE(SUM(value), 0) FROM facts WHERE name = 'dropped'"
        query = f"SELECT COUNT(*) + ({dropped}) FROM identities WHERE confirmed AND became IS NULL"
        try:
            return int(self._db.execute(query).fetchone()[0])
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: cannot read the identity store: {error}; restore a backup") from error

    def _drop_before(self, at: float) -> None:
        """Drops tracks decided and identities ended before; how many people those were stays."""
        self._db.execute("DELETE FROM tracks WHERE decided_at < ?", (at,))
        self._db.execute(
            "INSERT INTO facts SELECT 'dropped', COUNT(*) FROM identities"
            f" WHERE {_ENDED} AND +confirmed AND +became IS NULL"  # + keeps SQLite from the index of `count`
            " ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
            (at,),
        )
        self._db.execute(f"DELETE FROM identities WHERE {_ENDED}", (at,))

    def _put(self, decision: Decision) -> None:
        if isinstance(decision, Assignment):
            key = decision.track
            self._db.execute(
                "INSERT OR REPLACE INTO tracks VALUES (?, ?, ?, ?, ?, ?)",
                (
                    key.camera_id,
                    key.epoch,
                    key.track_id,
                    decision.identity_id,
                    decision.similarity,
                    decision.decided_at,
                ),
            )
        elif isinstance(decision, Confirmation):
            self._confirm(decision.identity_id)
        elif isinstance(decision, Merge):
            if self._is_confirmed(decision.replaces):
                self._confirm(decision.identity_id)
            self._end(decision.replaces, decision.identity_id, decision.decided_at)
            for column in ("one", "other"):
                query = f"UPDATE OR REPLACE parted SET {column} = ? WHERE {column} = ?"
                self._db.execute(query, (decision.identity_id, decision.replaces))
        elif isinstance(decision, Expiry):
            self._end(decision.identity_id, None, decision.decided_at)
            for table, column in (("tracks", "identity_id"), ("parted", "one"), ("parted", "other")):
                query = f"{_SAME} DELETE FROM {table} WHERE {column} IN (SELECT who FROM same)"
                self._db.execute(query, (decision.identity_id,))

    def _confirm(self, identity_id: int) -> None:
        """Counts somebody, also one who ended before they could be stored."""
        self._db.execute(
            "INSERT INTO identities (identity_id, confirmed) VALUES (?, 1)"
            " ON CONFLICT (identity_id) DO UPDATE SET confirmed = 1",
            (identity_id,),
        )

    def _is_confirmed(self, identity_id: int) -> bool:
        query = "SELECT 1 FROM identities WHERE identity_id = ? AND confirmed"
        return self._db.execute(query, (identity_id,)).fetchone() is not None

    def _end(self, identity_id: int, became: int | None, at: float) -> None:
        """Ends an identity and frees its prototypes.

        One that came and went between two commits leaves a row too, so that its number is used.
        """
        self._db.execute(
            "INSERT INTO identities (identity_id, last_seen, became, gone) VALUES (?, ?, ?, 1)"
            " ON CONFLICT (identity_id) DO UPDATE SET last_seen = excluded.last_seen, became = excluded.became,"
            " gone = 1, prototypes = NULL, weights = NULL, keys = NULL",
            (identity_id, at, became),
        )

    def _put_learnt(self, learnt: Knowledge) -> None:
        means = [(one.camera_id, one.people, _packed(one.mean)) for one in learnt.means]
        self._db.executemany("INSERT OR REPLACE INTO cameras VALUES (?, ?, ?)", means)
        if learnt.variation is not None:
            row = (learnt.variation.changes, _packed(learnt.variation.squares))
            self._db.execute("INSERT OR REPLACE INTO variation VALUES (0, ?, ?)", row)
        ways = [(one.came_from, one.came_to, _packed(one.chances), _packed(one.arrivals)) for one in learnt.transitions]
        self._db.executemany("INSERT OR REPLACE INTO transitions VALUES (?, ?, ?, ?)", ways)

    def _put_identity(self, known: Known) -> None:
        who = known.identity
        self._db.execute(
            "INSERT INTO identities VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, 0) ON CONFLICT (identity_id) DO UPDATE SET"
            " first_seen = excluded.first_seen, last_seen = excluded.last_seen, cameras = excluded.cameras,"
            " confirmed = excluded.confirmed, last_camera = excluded.last_camera, prototypes = excluded.prototypes,"
            " weights = excluded.weights, keys = excluded.keys",
            (
                who.identity_id,
                who.first_seen,
                who.last_seen,
                ",".join(sorted(who.cameras)),
                who.confirmed,
                who.last_camera,
                _packed(who.prototypes),
                _packed(who.weights),
                msgspec.msgpack.encode(known.keys),
            ),
        )

    def _rows(self, kind: type[_Row], what: str) -> list[_Row]:
        return msgspec.convert(self._db.execute(f"SELECT {what}").fetchall(), list[kind])  # type: ignore[valid-type]

    def _identity(self, row: _IdentityRow) -> tuple[Identity, tuple[TrackKey | None, ...]]:
        vectors: F32 = np.frombuffer(row.prototypes, np.float32).reshape(-1, self._dimension)
        keys = msgspec.msgpack.decode(row.keys, type=tuple[TrackKey | None, ...])
        weights: F32 = np.frombuffer(row.weights, np.float32)
        finite = bool(np.isfinite(vectors).all() and np.isfinite(weights).all())
        if len(keys) != len(vectors) or len(weights) not in (0, len(vectors)) or not finite:
            raise ValueError(f"{len(vectors)} prototypes of {len(keys)} tracks, finite: {finite}")
        seen_by = frozenset(filter(None, row.cameras.split(",")))
        seen = (row.first_seen, row.last_seen)
        return Identity(row.identity_id, vectors, *seen, seen_by, bool(row.confirmed), row.last_camera, weights), keys

    def _camera_mean(self, camera_id: str, people: int, mean: bytes) -> CameraMean:
        vector: F32 = np.frombuffer(mean, np.float32)
        if people < 1 or len(vector) != self._dimension or not np.isfinite(vector).all():
            found = f"{len(vector)} numbers of {people} people, finite: {np.isfinite(vector).all()}"
            raise ValueError(f"the mean of camera {camera_id} has {found}, expected {self._dimension}")
        return CameraMean(camera_id, people, vector)

    def _variation(self, changes: int, squares: bytes) -> Variation:
        table: F32 = np.frombuffer(squares, np.float32)
        if changes < 0 or len(table) != self._dimension**2 or not np.isfinite(table).all():
            found = f"{len(table)} numbers of {changes} changes, finite: {np.isfinite(table).all()}"
            raise ValueError(f"what varies within tracks has {found}, expected {self._dimension**2}")
        return Variation(changes, table.reshape(self._dimension, -1))

    def _check(self, name: str, value: str, advice: str) -> None:
        self._db.execute("INSERT OR IGNORE INTO facts VALUES (?, ?)", (name, value))
        found = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()[0]
        if found != value:
            raise StoreError(f"{self._path}: {name} is {found}, expected {value}; {advice}")


def lasting(decisions: Sequence[Decision]) -> list[Decision]:
    """Those that leave a trace in a store that takes all of them: it drops assignments of hours ago at once."""
    before = _outdated(decisions)
    return [one for one in decisions if not isinstance(one, Assignment) or one.decided_at >= before]


def is_of_a_live_run(path: Path) -> bool:
    """Whether a live run keeps its identities in this file, or nobody can tell; an empty one is nobody's."""
    if not path.exists() or not path.stat().st_size:
        return False
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5.0)) as db:
            return db.execute("SELECT 1 FROM facts WHERE name = 'run' AND value = 'replay'").fetchone() is None
    except sqlite3.Error:
        return True


def _outdated(decisions: Sequence[Decision]) -> float:
    return max((one.decided_at for one in decisions), default=0.0) - _KEPT_S


def _unopened(path: Path, error: sqlite3.Error) -> StoreError:
    name = getattr(error, "sqlite_errorname", "")
    no_file = name.startswith("SQLITE_CANTOPEN") and not path.is_dir() and os.access(path.parent, os.W_OK)
    if no_file or name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
        return DiskError(f"{path}: cannot open the identity store: {error}; free space there")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        advice = "another program writes to it; end that"
    else:
        advice = "restore a backup, or use another run directory" if path.is_file() else "check the path"
    return StoreError(f"{path}: cannot open the identity store: {error}; {advice}")


def _packed(numbers: F32) -> bytes:
    return np.ascontiguousarray(numbers, np.float32).tobytes()


def _transition(came_from: str, came_to: str, *counts: bytes) -> Transition:
    chances, arrivals = (np.frombuffer(one, np.float32) for one in counts)
    if not all(len(one) == SPANS and np.isfinite(one).all() and (one >= 0).all() for one in (chances, arrivals)):
        raise ValueError(f"the way from {came_from} to {came_to} has no {SPANS} counts twice")
    return Transition(came_from, came_to, chances, arrivals)
