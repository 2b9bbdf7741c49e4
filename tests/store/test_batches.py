"""Rows are cut into statements that are neither too long nor too heavy."""

from dj_queue.store.shared import batches


def cut(items, most_items=3, most_weight=10):
    return [
        list(each) for each in batches(items, int, most_items=most_items, most_weight=most_weight)
    ]


def test_no_items_make_no_batch():
    assert cut([]) == []


def test_few_light_items_stay_together():
    assert cut([1, 2, 3]) == [[1, 2, 3]]


def test_batch_has_no_more_items_than_allowed():
    assert cut([1, 1, 1, 1, 1, 1, 1]) == [[1, 1, 1], [1, 1, 1], [1]]


def test_batch_is_no_heavier_than_allowed():
    assert cut([4, 6, 1, 9, 9]) == [[4, 6], [1, 9], [9]]


def test_item_that_is_too_heavy_goes_alone():
    assert cut([1, 50, 1, 60]) == [[1], [50], [1], [60]]
