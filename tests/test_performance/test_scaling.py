import pytest

from performance.scaling import Cluster, Workload, estimate, most_predictions

CLUSTER = Cluster('made up', tflops=100, float32_tflops=20, utilization=0.5, fast_gbytes=8, slow_gbytes=2)
WORKLOAD = Workload(macs=1e12, parameters=10**9, bytes_per_image=2e9, images=8.64e5, batch_size=16)


def test_one_gpu():
    """16 images x 8e12 operations at 5e13 per second are 2.56 s, and nothing is exchanged."""
    found = estimate(WORKLOAD, CLUSTER, 1)
    assert found.images_per_second == pytest.approx(16 / 2.56)
    assert found.days == pytest.approx(10 * 2.56 / 16)
    assert found.gbytes_per_gpu == pytest.approx(16 + 32)


def test_exchange_of_gradients():
    """4e9 bytes: 2 x 7/8 of them at 8e9 per second within a node, 2 x 15/16 at 2e9 between two."""
    assert estimate(WORKLOAD, CLUSTER, 8).images_per_second == pytest.approx(16 / (0.32 + 0.875))
    assert estimate(WORKLOAD, CLUSTER, 16).images_per_second == pytest.approx(16 / (0.16 + 3.75))


def test_batch_must_be_divisible():
    with pytest.raises(ValueError, match='got 16 and 3'):
        estimate(WORKLOAD, CLUSTER, 3)


def test_most_predictions():
    """2e12 operations per image at 2e13 per second."""
    assert most_predictions(1e12, CLUSTER) == pytest.approx(10)
