"""Who was seen beside whom, through merges and departures."""

from pipeline.company import Company


def test_company_is_mutual_and_told_once():
    company = Company()
    company.note(1, {2, 3})
    company.note(2, {1})
    assert (company.of(1), company.of(2), company.of(3), company.of(4)) == ({2, 3}, {1}, {1}, set())
    assert sorted(company.take_new()) == [(1, 2), (1, 3)]
    assert company.take_new() == ()


def test_what_was_known_before_is_not_news():
    company = Company([(1, 2)])
    company.note(2, {1})
    assert (company.of(1), company.take_new()) == ({2}, ())


def test_who_becomes_another_brings_their_company():
    company = Company([(2, 3), (1, 4)])
    company.unite(1, 2)
    assert (company.of(1), company.of(2), company.of(3)) == ({3, 4}, set(), {1})


def test_nobody_is_their_own_company():
    company = Company([(1, 2)])
    company.unite(1, 2)
    company.note(1, {1})
    assert (company.of(1), company.take_new()) == (set(), ())


def test_who_is_forgotten_is_nobody_s_company():
    company = Company([(1, 2), (2, 3)])
    company.forget(2)
    assert [company.of(one) for one in (1, 2, 3)] == [set(), set(), set()]
