import hashlib
from pathlib import Path

import pytest

from mmrobust.datasets.imagenet_subsets import SUBSETS, WNIDS, folder_mismatch, subset_indices, subset_wnids

# sha256 of the comma-joined indices and wnids
HASHES = {
    'imagenet-a': (
        '973e8c3e530bf5dbd49999d046e74084ba5184ab98036b42b111d8dcdecf1015',
        'b42e81c12a300300b184e87ddfbb7ea60d94501d0403fe80727f25839866db80',
    ),
    'imagenet-r': (
        'a1d9a9ace3098120f5db861d97049116efe80683f4e48c65a62f9bd30fc3366a',
        '98ce4fd873b9b46b5761d21549c019aa8ce0047775b0e4ff3822336b2762b476',
    ),
}


def sha256(values):
    return hashlib.sha256(','.join(map(str, values)).encode()).hexdigest()


def test_1000_classes():
    assert len(set(WNIDS)) == 1000 and list(WNIDS) == sorted(WNIDS)
    assert sha256(WNIDS) == '858fd8cc1983d57f3a05012a7aacf30415a430b1efb5bd17284bb3282160c0d5'


@pytest.mark.parametrize('subset', SUBSETS)
def test_subset(subset):
    indices, wnids = subset_indices(subset), subset_wnids(subset)
    assert len(set(indices)) == len(wnids) == 200
    assert list(indices) == sorted(indices) and list(wnids) == sorted(wnids)
    assert (sha256(indices), sha256(wnids)) == HASHES[subset]


def test_the_subsets_share_86_classes():
    assert len(set(subset_indices('imagenet-a')) & set(subset_indices('imagenet-r'))) == 86


def test_equals_timm():
    info = Path(pytest.importorskip('timm.data').__file__).parent / '_info'
    assert list(WNIDS) == (info / 'imagenet_synsets.txt').read_text().split()
    for subset in SUBSETS:
        name = subset.replace('-', '_')
        assert list(subset_wnids(subset)) == (info / f'{name}_synsets.txt').read_text().split()
        assert list(map(str, subset_indices(subset))) == (info / f'{name}_indices.txt').read_text().split()


def test_unknown_subset():
    with pytest.raises(ValueError, match="must be one of imagenet-a, imagenet-r, got 'imagenet-o'"):
        subset_indices('imagenet-o')


@pytest.mark.parametrize(
    ('found', 'sentence'),
    [
        (set(WNIDS), None),
        (set(WNIDS[1:]), '999 class folders, not the expected 1000: 1 missing (n01440764)'),
        (
            set(subset_wnids('imagenet-a')),
            '200 class folders, not the expected 1000: 800 missing (n01440764, n01443537, n01484850, ...)',
        ),
        ({*WNIDS, 'val', 'n1', 'n2'}, '1003 class folders, not the expected 1000: 3 unexpected (n1, n2, val)'),
        (
            {*WNIDS[:-1], 'n2'},
            '1000 class folders, not the expected 1000: 1 missing (n15075141) and 1 unexpected (n2)',
        ),
        ((), '0 class folders, not the expected 1000: 1000 missing (n01440764, n01443537, n01484850, ...)'),
    ],
)
def test_class_folders(found, sentence):
    assert folder_mismatch(found, WNIDS) == sentence
