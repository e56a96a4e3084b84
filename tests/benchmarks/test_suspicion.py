from benchmarks.suspicion import precision_recall


def test_precision_and_recall_by_hand() -> None:
    assert precision_recall([5, 4, 4, 1], [True, False, True, False]) == [(0.5, 1.0), (1.0, 2 / 3), (1.0, 0.5)]
