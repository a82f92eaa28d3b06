"""A sample looks the same whoever draws it, and whatever was drawn before."""

import pickle
import random
from itertools import islice

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, ClassBalancedDataset, ConcatDataset, InfiniteSampler, RepeatDataset
from mmengine.structures import BaseDataElement
from torch.utils.data import DataLoader, Dataset

from mmrobust.datasets import SeededIndex, SeededInfiniteSampler, SeededSampling
from mmrobust.datasets.transforms import BrokenImageError
from mmrobust.randomness import derive_seed


class Numbers(BaseDataset):
    """Ten samples of (index, three random numbers); the first look at sample 3 fails, as a broken image does."""

    def load_data_list(self) -> list[dict]:
        return [{'value': value} for value in range(10)]

    def prepare_data(self, idx: int):
        return None if idx == 3 else (idx, random.random(), np.random.rand(), torch.rand(1).item())


class Labelled(Numbers):
    def get_cat_ids(self, idx: int) -> list[int]:
        return [idx % 3]


class SeededNumbers(SeededSampling, Numbers):
    pass


def take(sampler, count: int) -> list[SeededIndex]:
    return list(islice(iter(sampler), count))


def draw(seed_before: int, num_workers: int, dataset: Dataset | None = None) -> list:
    torch.manual_seed(seed_before)
    random.seed(seed_before)
    np.random.seed(seed_before)
    dataset = dataset or SeededNumbers()
    sampler = SeededInfiniteSampler(dataset, seed=1)
    loader = DataLoader(dataset, batch_size=2, sampler=sampler, num_workers=num_workers, collate_fn=list)
    return list(islice(loader, 9))


def test_samples_depend_on_seed_and_position_only():
    first = draw(0, num_workers=0)
    assert first == draw(1, num_workers=0) == draw(1, num_workers=2)
    assert len({sample[1] for batch in first for sample in batch}) == 18  # the second pass looks different
    assert all(sample[0] != 3 for batch in first for sample in batch)  # another one was fetched in its place


def test_plain_integers_do_what_they_did():
    random.seed(4)
    expected = Numbers()[0][1]
    random.seed(4)
    assert SeededNumbers()[0][1] == expected


def test_the_caller_keeps_its_random_states():
    def states() -> tuple:
        return random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()

    before = states()
    SeededNumbers()[SeededIndex(2, 77)]
    assert states() == before
    with pytest.raises(IndexError):
        SeededNumbers(serialize_data=False, indices=[1], pipeline=[]).get_data_info(SeededIndex(5, 1).index)
    assert states() == before


def test_order_is_that_of_mmengine():
    ours = take(SeededInfiniteSampler(SeededNumbers(), seed=5), 25)
    assert [index for index, _ in ours] == take(InfiniteSampler(SeededNumbers(), seed=5), 25)
    assert [seed for _, seed in ours] == [derive_seed(5, position) for position in range(25)]


@pytest.mark.parametrize('world_size', [1, 3])
def test_ranks_share_the_stream_and_skipping_continues_it(monkeypatch, world_size):
    whole = take(SeededInfiniteSampler(SeededNumbers(), seed=5), 30)
    for rank in range(world_size):
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda rank=rank: (rank, world_size))
        sampler = SeededInfiniteSampler(SeededNumbers(), seed=5)
        assert take(sampler, 4) == whole[rank::world_size][:4]
        sampler = SeededInfiniteSampler(SeededNumbers(), seed=5)
        sampler.skip(6)
        assert take(sampler, 4) == whole[rank::world_size][6:10]


def test_negative_skip():
    with pytest.raises(ValueError, match='0 or more, but got -1'):
        SeededInfiniteSampler(SeededNumbers(), seed=5).skip(-1)


@pytest.mark.parametrize(
    'wrap',
    [
        lambda: Numbers(),
        lambda: ConcatDataset([Numbers(), SeededNumbers()]),
        lambda: RepeatDataset(SeededNumbers(), 2),
        lambda: RepeatDataset(Numbers(), 2),
        lambda: ClassBalancedDataset(Labelled(), 0.5),
    ],
)
def test_any_dataset_takes_seeds(wrap):
    first = draw(0, 0, wrap())
    assert first == draw(1, 0, wrap()) == draw(1, 2, wrap())
    assert len({sample[1] for batch in first for sample in batch}) == 18


def test_a_dataset_that_takes_seeds_stays_what_it_is():
    dataset = RepeatDataset(Numbers(), 2)
    for _ in range(2):
        SeededInfiniteSampler(dataset, seed=1)
    restored = pickle.loads(pickle.dumps(dataset))
    for one in (dataset, restored):
        assert isinstance(one, RepeatDataset) and type(one).__name__ == 'RepeatDataset' and len(one) == 20
        assert one[SeededIndex(14, 7)] == dataset[SeededIndex(4, 7)]
        assert one[14][0] == 4


@pytest.mark.parametrize('kinds', [('skip', 'skip'), ('skip', 'raise'), ('raise', 'raise')])
def test_a_wrapper_skips_if_all_that_it_wraps_do(kinds):
    dataset = ConcatDataset([SeededNumbers(on_corrupt=kind) for kind in kinds])
    SeededInfiniteSampler(dataset, seed=1)
    assert dataset.on_corrupt == ('skip' if set(kinds) == {'skip'} else 'raise')


def test_reseed_before_the_first_sample_but_not_after():
    sampler = SeededInfiniteSampler(SeededNumbers(), seed=5)
    sampler.reseed(6)
    assert take(sampler, 3) == take(SeededInfiniteSampler(SeededNumbers(), seed=6), 3)
    sampler.reseed(6)
    with pytest.raises(RuntimeError, match=r'started with seed 6, .* set randomness=dict\(seed=7\)'):
        sampler.reseed(7)


def test_seeds_are_the_same_on_every_machine():
    assert derive_seed(1, 2) == 5142973159532490859
    assert len({derive_seed(a, b) for a in range(30) for b in range(30)}) == 900


class Broken(SeededNumbers):
    """The samples 2 to ``last`` are broken."""

    def __init__(self, last: int = 2, **kwargs) -> None:
        self.last = last
        super().__init__(**kwargs)

    def prepare_data(self, idx: int) -> dict:
        if 2 <= idx <= self.last:
            raise BrokenImageError(f'The image {idx}.png is broken.')
        return {'data_samples': BaseDataElement(metainfo={'index': idx}), 'drawn': random.random()}


def test_a_broken_image_is_fatal_unless_told_otherwise():
    for dataset, index in ((Broken(), SeededIndex(2, 0)), (Broken(on_corrupt='skip'), 2)):  # an integer: evaluating
        with pytest.raises(BrokenImageError, match='2'):
            dataset[index]


def test_a_broken_image_is_replaced_by_one_that_the_seed_chooses(monkeypatch):
    logged = []
    monkeypatch.setattr('mmrobust.datasets.seeded_sampling.print_log', lambda line, **kwargs: logged.append(line))
    dataset = Broken(on_corrupt='skip')
    chosen = {}
    for seed in range(20):
        sample = dataset[SeededIndex(2, seed)]
        random.random()  # what else is drawn does not matter
        assert (again := dataset[SeededIndex(2, seed)])['drawn'] == sample['drawn']
        assert again['data_samples'].index == sample['data_samples'].index != 2
        assert sample['data_samples'].substitute_for == 'The image 2.png is broken.'
        chosen[seed] = sample['data_samples'].index
    assert len(set(chosen.values())) > 4
    assert {*logged} == {'The image 2.png is broken. Another one takes its place.'} and len(logged) >= 40
    assert 'substitute_for' not in dataset[SeededIndex(1, 0)]['data_samples']


def test_a_folder_of_broken_images_is_an_error_all_the_same():
    dataset = Broken(on_corrupt='skip')
    dataset.prepare_data = lambda idx: Broken(last=9).prepare_data(2)
    with pytest.raises(BrokenImageError):
        dataset[SeededIndex(0, 0)]


def test_on_corrupt_is_one_of_two():
    with pytest.raises(ValueError, match="must be 'raise' or 'skip', got 'ignore'"):
        SeededNumbers(on_corrupt='ignore')
