"""The sketch loses none of the nearest, in any order of writing and moving, in one thread or several."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pipeline.sketch import Sketch

RNG = np.random.default_rng(0)


def unit_rows(count, length=32):
    rows = RNG.standard_normal((count, length)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def vectors():
    """More than two blocks and no multiple of one."""
    return unit_rows(20_000)


@pytest.fixture(scope="module")
def sketch(vectors):
    return Sketch(vectors)


def test_the_shortlist_holds_the_best_rows(sketch, vectors):
    queries = unit_rows(5)
    for rows, cosine in zip(sketch.shortlist(queries, 50), queries @ vectors.T, strict=True):
        assert set(np.argsort(-cosine)[:10]) <= set(rows)
        assert 50 <= len(rows) < 200
        assert rows.tolist() == sorted(set(rows))


def test_threads_find_what_one_finds(sketch):
    queries = unit_rows(3)
    with ThreadPoolExecutor(2) as pool:
        together = sketch.shortlist(queries, 20, pool.map)
    for rows, alone in zip(together, sketch.shortlist(queries, 20), strict=True):
        assert rows.tolist() == alone.tolist()


def test_a_gallery_smaller_than_the_shortlist_is_all_on_it():
    assert [rows.tolist() for rows in Sketch(unit_rows(3)).shortlist(unit_rows(2), 50)] == [[0, 1, 2]] * 2


def test_a_moved_row_is_found_at_its_new_place_and_a_written_one_at_once():
    vectors = unit_rows(10)
    sketch = Sketch(vectors)
    sketch.move(9, 4)
    assert sketch.shortlist(vectors[9:], 1)[0].tolist() == [4]
    sketch.write(9, vectors[4:5])
    sketch.write(10, vectors[:1])
    assert sketch.shortlist(vectors[4:5], 1)[0].tolist() == [9]
    assert sketch.shortlist(vectors[:1], 1)[0].tolist() == [0, 10]


def test_vectors_longer_than_the_sketch_keep_their_strongest_axes():
    vectors = unit_rows(300, 200)
    vectors[:, :150] *= 1e-3
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert [rows[0] for rows in Sketch(vectors).shortlist(vectors[:20], 1)] == list(range(20))
