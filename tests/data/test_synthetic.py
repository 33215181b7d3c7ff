import numpy as np

from oneflow_bench.data import create_synthetic_batches


def test_batches_have_the_shapes_and_types_of_a_loader():
    batches = create_synthetic_batches(3, 4, 10, 7, seed=0)
    assert len(batches) == 3
    for images, labels in batches:
        assert images.shape == (4, 3, 10, 10) and images.dtype == np.float32
        assert labels.shape == (4,) and labels.dtype == np.int32
        assert labels.min() >= 0 and labels.max() < 7
    assert create_synthetic_batches(1, 2, 28, 10, seed=0, channels=1)[0][0].shape == (2, 1, 28, 28)


def test_a_seed_gives_the_same_batches_and_another_gives_others():
    first, again, other = (create_synthetic_batches(1, 4, 8, 5, seed=s)[0][0] for s in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_classes_are_the_same_under_any_seed():
    def mean_of_class(seed):
        images, labels = create_synthetic_batches(1, 400, 8, 2, seed)[0]
        return images[labels == 0].mean(0).ravel()

    assert np.corrcoef(mean_of_class(1), mean_of_class(2))[0, 1] > 0.95
