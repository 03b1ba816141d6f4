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
def two_spans():
    """A few more than eight blocks."""
    return unit_rows(8 * 8192 + 10, 16)


def sketch_of(vectors):
    sketch = Sketch(vectors[:4000])
    sketch.write(0, vectors)
    return sketch


@pytest.fixture(scope="module")
def sketch(vectors):
    return sketch_of(vectors)


def shortlists(sketch, queries, count):
    return [np.sort(rows).tolist() for rows in sketch.scan(queries).rows(range(len(queries)), count)]


def test_the_shortlist_holds_the_best_rows(sketch, vectors):
    queries = unit_rows(5)
    for rows, cosine in zip(shortlists(sketch, queries, 50), queries @ vectors.T, strict=True):
        assert set(np.argsort(-cosine)[:10]) <= set(rows)
        assert 50 <= len(rows) < 200
        assert rows == sorted(set(rows))


def test_threads_find_what_one_finds(two_spans):
    queries = unit_rows(3, 16)
    with ThreadPoolExecutor(2) as pool:
        together = sketch_of(two_spans).scan(queries, pool.map)
    expected = shortlists(sketch_of(two_spans), queries, 20)
    assert [np.sort(rows).tolist() for rows in together.rows([2, 0], 20)] == [expected[2], expected[0]]


def test_more_rows_are_asked_for_than_the_groups_that_hold_any(two_spans):
    query = unit_rows(1, 16)
    (rows,) = shortlists(sketch_of(two_spans), query, 2400)
    assert set(np.argsort(-(two_spans @ query[0]))[:2000]) <= set(rows)
    assert 2400 <= len(rows) < len(two_spans) / 2


def test_rows_that_are_unlike_the_query_come_before_the_room_for_more():
    vectors = unit_rows(3000) - np.eye(32, dtype=np.float32)[0]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    query = np.eye(32, dtype=np.float32)[:1]
    assert set(np.argsort(-(vectors @ query[0]))[:10]) <= set(*shortlists(sketch_of(vectors), query, 50))


def test_no_queries_have_no_shortlists(sketch):
    assert shortlists(sketch, unit_rows(0), 50) == []


def test_a_gallery_smaller_than_the_shortlist_is_all_on_it():
    assert shortlists(sketch_of(unit_rows(3)), unit_rows(2), 50) == [[0, 1, 2]] * 2


def test_an_empty_sketch_has_no_rows():
    assert shortlists(Sketch(unit_rows(3)), unit_rows(2), 50) == [[], []]


def test_a_row_is_found_where_it_was_written_last_and_not_where_it_was_cut_off():
    vectors = unit_rows(10)
    sketch = sketch_of(vectors)
    sketch.cut(9)
    sketch.write(4, vectors[9:])
    assert len(sketch) == 9
    assert shortlists(sketch, vectors[9:], 1) == [[4]]
    sketch.write(9, vectors[4:5])
    sketch.write(10, vectors[:1])
    assert shortlists(sketch, vectors[[4, 0]], 1) == [[9], [0, 10]]


def test_vectors_longer_than_the_sketch_keep_their_strongest_axes():
    vectors = unit_rows(300, 200)
    vectors[:, :150] *= 1e-3
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert shortlists(sketch_of(vectors), vectors[:20], 1) == [[row] for row in range(20)]
