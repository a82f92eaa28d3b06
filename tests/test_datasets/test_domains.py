"""Which files of each data set of domains.yml are taken, what their ids become, and what is said of what is wrong.

The folders are written by hand here, as the data sets are described, and not from the patterns under test.
"""

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from mmseg.datasets import MapillaryDataset_v1, MapillaryDataset_v2

from mmrobust.datasets import DomainDataset
from mmrobust.datasets.domains import CLASSES, choose_domains, shipped_domains

PIPELINE = [dict(type='mmrobust.LoadImageFromFile'), dict(type='mmrobust.LoadAnnotations')]
FOG = 'leftImg8bit_foggy/val/frankfurt/frankfurt_000000_000294_leftImg8bit_foggy_beta'
RAIN = 'leftImg8bit_rain/val/lindau/lindau_000003_000019_leftImg8bit_rain_alpha'
CITYSCAPES = ([0, 7, 33, 20, 29, 255], [255, 0, 18, 7, 255, 255])
TRAIN_IDS = ([0, 5, 18, 255], [0, 5, 18, 255])
LEVEL_3 = ([0, 1, 3, 8, 12, 25], [0, 255, 9, 255, 255, 10])
# name, condition: images to their labels; files that must not be taken; ids in a label and their classes; the sequence
LAYOUTS = {
    ('bdd100k', None): (
        {'images/10k/val/7d06fefd-f7be05a6.jpg': 'labels/sem_seg/masks/val/7d06fefd-f7be05a6.png'},
        ['images/10k/train/0004a4c0-d4dff0ad.jpg', 'labels/sem_seg/colormaps/val/7d06fefd-f7be05a6.png'],
        *TRAIN_IDS,
        'images/10k/val/7d06fefd-f7be05a6.jpg',
    ),
    ('mapillary', None): (
        {'validation/images/_1Gn_xkw7sa_i9GU4mkxxQ.jpg': 'validation/v1.2/labels/_1Gn_xkw7sa_i9GU4mkxxQ.png'},
        ['training/images/a.jpg', 'validation/v2.0/labels/_1Gn_xkw7sa_i9GU4mkxxQ.png'],
        [13, 2, 65, 21],
        [0, 1, 255, 12],
        'validation/images/_1Gn_xkw7sa_i9GU4mkxxQ.jpg',
    ),
    ('mapillary-v2', None): (
        {'validation/images/_1Gn_xkw7sa_i9GU4mkxxQ.jpg': 'validation/v2.0/labels/_1Gn_xkw7sa_i9GU4mkxxQ.png'},
        ['validation/v2.0/instances/_1Gn_xkw7sa_i9GU4mkxxQ.png'],
        [21, 4, 123, 33, 75],
        [0, 1, 255, 12, 255],
        'validation/images/_1Gn_xkw7sa_i9GU4mkxxQ.jpg',
    ),
    ('dark-zurich', None): (
        {
            'rgb_anon/val/night/GOPR0356/GOPR0356_frame_000321_rgb_anon.png': (
                'gt/val/night/GOPR0356/GOPR0356_frame_000321_gt_labelTrainIds.png'
            )
        },
        ['rgb_anon/val_ref/day/GOPR0356_ref/GOPR0356_frame_000320_rgb_anon.png'],
        *TRAIN_IDS,
        'val/night/GOPR0356',
    ),
    ('nighttime-driving', None): (
        {
            'leftImg8bit/test/night/0_frame_0005_leftImg8bit.png': (
                'gtCoarse_daytime_trainvaltest/test/night/0_frame_0005_gtCoarse_labelTrainIds.png'
            )
        },
        [],
        *TRAIN_IDS,
        'leftImg8bit/test/night/0_frame_0005_leftImg8bit.png',
    ),
    ('foggy-cityscapes', 'beta-0.01'): (
        {f'{FOG}_0.01.png': 'gtFine/val/frankfurt/frankfurt_000000_000294_gtFine_labelIds.png'},
        [f'{FOG}_0.005.png', f'{FOG}_0.02.png'],
        *CITYSCAPES,
        'frankfurt_000000_000294',
    ),
    ('foggy-zurich', None): (
        {'RGB/GP010229/1508040913.0_frame_000955.png': 'gt_labelTrainIds/GP010229/1508040913.0_frame_000955.png'},
        ['RGB/GOPR0122/1508000000.0_frame_000001.png'],
        *TRAIN_IDS,
        'RGB/GP010229',
    ),
    ('rainy-cityscapes', None): (
        {
            f'{RAIN}_{kind}.png': 'gtFine/val/lindau/lindau_000003_000019_gtFine_labelIds.png'
            for kind in ('0.01_beta_0.005_dropsize_0.01_pattern_1', '0.02_beta_0.01_dropsize_0.005_pattern_12')
        },
        ['leftImg8bit_rain/train/ulm/ulm_000000_000019_leftImg8bit_rain_alpha_0.01_beta_0.005_pattern_1.png'],
        *CITYSCAPES,
        'lindau_000003_000019',
    ),
    ('wilddash2', None): (
        {'images/ag0000_100000.jpg': 'labels/ag0000_100000.png'},
        ['images/readme.txt'],
        [7, 34, 35, 36, 38, 80],
        [0, 14, 13, 255, 0, 1],
        'images/ag0000_100000.jpg',
    ),
    ('idd', None): (
        {
            'leftImg8bit/val/119/903127_leftImg8bit.png': 'gtFine/val/119/903127_gtFine_labellevel3Ids.png',
            'leftImg8bit/val/513/frame0029_leftImg8bit.jpg': 'gtFine/val/513/frame0029_gtFine_labellevel3Ids.png',
        },
        ['leftImg8bit/test/0/000000_leftImg8bit.png'],
        *LEVEL_3,
        'val/119',
    ),
    ('idd-cs', None): (
        {'leftImg8bit/val/119/903127_leftImg8bit.png': 'gtFine/val/119/903127_gtFine_labelcsTrainIds.png'},
        ['gtFine/val/119/903127_gtFine_labellevel3Ids.png'],
        *TRAIN_IDS,
        'val/119',
    ),
    ('idd-aw', 'snow'): (
        {'val/SNOW/rgb/46/00000001_rgb.png': 'val/SNOW/gt_labels/46/00000001_labellevel3Ids.png'},
        ['val/FOG/rgb/1/00000001_rgb.png', 'val/SNOW/nir/46/00000001_nir.png', 'train/SNOW/rgb/46/00000002_rgb.png'],
        *LEVEL_3,
        'SNOW/rgb/46',
    ),
    ('muses', 'fog-night'): (
        {
            'frame_camera/val/fog/night/REC0006_frame_041402_frame_camera.png': (
                'gt_semantic/val/fog/night/REC0006_frame_041402_gt_labelTrainIds.png'
            )
        },
        ['frame_camera/val/fog/day/REC0007_frame_000001_frame_camera.png'],
        *TRAIN_IDS,
        'REC0006',
    ),
}


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == '.txt':
        path.write_text('')
    else:
        assert cv2.imwrite(str(path), image)


def fill(root: Path, name: str, condition: str | None = None) -> Path:
    """Folder of a data set, with the images of a condition and what is around them."""
    files, decoys, ids, _, _ = LAYOUTS[name, condition]
    image, label = np.zeros((2, len(ids), 3), np.uint8), np.array([ids, ids], np.uint8)
    for path in (*files, *decoys):
        write(root / path, image)
    for path in files.values():
        write(root / path, label)
    if name == 'foggy-zurich':
        lists = root / 'lists_file_names'
        lists.mkdir()
        (lists / 'RGB_testv2_filenames.txt').write_text('\n'.join(files) + '\n')
    return root


@pytest.mark.parametrize(('name', 'condition'), LAYOUTS, ids=lambda value: value)
def test_layout(tmp_path, name, condition):
    files, _, _, classes, sequence = LAYOUTS[name, condition]
    dataset = DomainDataset(name, fill(tmp_path, name, condition), condition, pipeline=PIPELINE)
    taken = [dataset.get_data_info(index) for index in range(len(dataset))]
    assert [of['img_path'] for of in taken] == [str(tmp_path / path) for path in sorted(files)]
    assert [of['seg_map_path'] for of in taken] == [str(tmp_path / files[path]) for path in sorted(files)]
    for index in range(len(dataset)):
        assert dataset[index]['gt_seg_map'].tolist() == [classes, classes]
        assert dataset[index]['gt_seg_map'].dtype == np.uint8
    assert dataset.domain.unit_of(sorted(files)[0]) == sequence


def test_every_data_set_has_a_layout_here():
    assert {name for name, _ in LAYOUTS} | {'dark-zurich-valid'} == set(shipped_domains())


def table_of(name: str) -> np.ndarray:
    (domain,) = choose_domains([name])
    return domain.table


def by_name(names: tuple[str, ...], classes: dict[str, str]) -> list[int]:
    """Class of each name: of those that a rule has, and of those that Cityscapes has too."""
    same = {name.lower(): index for index, name in enumerate(CLASSES)}
    return [same.get(classes.get(name, name.lower()), 255) for name in names]


def test_ids_of_mapillary():
    """By the names that MMSegmentation gives them."""
    common = {
        'Curb': 'sidewalk',
        'Curb Cut': 'sidewalk',
        'Pedestrian Area': 'sidewalk',
        'Bike Lane': 'road',
        'Service Lane': 'road',
        'Crosswalk - Plain': 'road',
        'Parking': 'road',
        'Street Light': 'pole',
        'Utility Pole': 'pole',
        'Traffic Sign Frame': 'traffic sign',
        'Traffic Sign (Back)': 'traffic sign',
        'Traffic Sign (Front)': 'traffic sign',
        'Bicyclist': 'rider',
        'Motorcyclist': 'rider',
        'Other Rider': 'rider',
        'On Rails': 'train',
    }
    for name, kind in (('mapillary', MapillaryDataset_v1), ('mapillary-v2', MapillaryDataset_v2)):
        names = kind.METAINFO['classes']
        rule = common | {'Parking Aisle': 'road', 'Pole Group': 'pole', 'Person Group': 'person'}
        for of in names:
            if of.startswith('Lane Marking'):
                rule[of] = 'road'
            elif of.startswith(('Traffic Light -', 'Traffic Sign -')):
                rule[of] = of[:13].lower().strip(' -')
        table = table_of(name)
        assert table[: len(names)].tolist() == by_name(names, rule)
        assert (table[len(names) : 255] == -1).all() and table[255] == 255


def test_ids_of_idd():
    """The names of level 3, in the order of their ids."""
    names = (
        'road',
        'drivable fallback',
        'sidewalk',
        'non-drivable fallback',
        'person',
        'rider',
        'motorcycle',
        'bicycle',
        'autorickshaw',
        'car',
        'truck',
        'bus',
        'vehicle fallback',
        'curb',
        'wall',
        'fence',
        'guard rail',
        'billboard',
        'traffic sign',
        'traffic light',
        'pole',
        'obs-str-bar-fallback',
        'building',
        'bridge',
        'vegetation',
        'sky',
    )
    table = table_of('idd')
    assert table[: len(names)].tolist() == by_name(names, {'non-drivable fallback': 'terrain'})
    assert (table[len(names) : 255] == -1).all()


def test_ids_of_wilddash_begin_as_those_of_cityscapes():
    assert table_of('wilddash2')[:34].tolist() == table_of('foggy-cityscapes')[:34].tolist()


def test_invalid_pixels_are_left_out(tmp_path):
    root = fill(tmp_path, 'dark-zurich')
    mask = root / 'gt/val/night/GOPR0356/GOPR0356_frame_000321_gt_invIds.png'
    write(mask, np.array([[0, 1, 0, 0], [0, 0, 255, 0]], np.uint8))
    found = DomainDataset('dark-zurich-valid', root, pipeline=PIPELINE)[0]['gt_seg_map']
    assert found.tolist() == [[0, 255, 18, 255], [0, 5, 255, 255]]
    assert DomainDataset('dark-zurich', root, pipeline=PIPELINE)[0]['gt_seg_map'][0, 1] == 5
    write(mask, np.zeros((1, 1), np.uint8))
    with pytest.raises(ValueError, match=r'gt_invIds.png must have the shape of its label, \(2, 4\), but has'):
        DomainDataset('dark-zurich-valid', root, pipeline=PIPELINE)[0]
    mask.unlink()
    with pytest.raises(FileNotFoundError, match=r'1 of 1 images have no label .*_gt_invIds.png'):
        DomainDataset('dark-zurich-valid', root, pipeline=PIPELINE)


@pytest.mark.parametrize(('name', 'value'), [('idd', 26), ('foggy-cityscapes', 34), ('mapillary', 66), ('bdd100k', 19)])
def test_values_that_are_no_ids_name_the_file(tmp_path, name, value):
    condition = next(condition for of, condition in LAYOUTS if of == name)
    root = fill(tmp_path, name, condition)
    label = root / next(iter(LAYOUTS[name, condition][0].values()))
    write(label, np.full((2, len(LAYOUTS[name, condition][2])), value, np.uint8))
    with pytest.raises(ValueError, match=f'The label {label} has the values {value}, '):
        DomainDataset(name, root, condition, pipeline=PIPELINE)[0]


def test_missing_data_say_what_to_download(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no BDD100K in .*/nothing: download "10K Images" .*masks/val\.$'):
        DomainDataset('bdd100k', tmp_path / 'nothing', pipeline=[])
    with pytest.raises(
        ValueError, match=r'no image of MUSES .* frame_camera/val/fog/day/\*\*/\*_frame_camera.png: down'
    ):
        DomainDataset('muses', tmp_path, 'fog-day', pipeline=[])
    root = fill(tmp_path / 'idd', 'idd')
    (root / 'gtFine/val/513/frame0029_gtFine_labellevel3Ids.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'1 of 2 images have no label .*513/frame0029.*createLabels.py'):
        DomainDataset('idd', root, pipeline=[])
    root = fill(tmp_path / 'fz', 'foggy-zurich')
    (root / 'lists_file_names/RGB_testv2_filenames.txt').unlink()
    with pytest.raises(
        FileNotFoundError, match=r'RGB_testv2_filenames.txt, which lists the images of Foggy Zurich: down'
    ):
        DomainDataset('foggy-zurich', root, pipeline=[])


def test_step_that_does_not_know_ids_is_refused(tmp_path):
    pipeline = [dict(type='mmcv.LoadAnnotations', with_seg=True)]
    with pytest.raises(ValueError, match='which knows the ids of idd, got LoadAnnotations: replace that step'):
        DomainDataset('idd', fill(tmp_path / 'idd', 'idd'), pipeline=pipeline)
    DomainDataset('idd', tmp_path / 'idd', pipeline=[dict(type='mmseg.LoadAnnotations')])
    DomainDataset('bdd100k', fill(tmp_path / 'bdd', 'bdd100k'), pipeline=pipeline)


def test_wrong_arguments(tmp_path):
    with pytest.raises(ValueError, match=r"datasets must be some of bdd100k, mapillary, .*, got 'kitti'"):
        DomainDataset('kitti', tmp_path, pipeline=[])
    with pytest.raises(ValueError, match=r"condition of muses must be one of clear-day, .*, got 'hail'"):
        DomainDataset('muses', fill(tmp_path, 'muses', 'fog-night'), 'hail', pipeline=[])
    with pytest.raises(ValueError, match="condition of bdd100k must be one of None, got 'fog'"):
        DomainDataset('bdd100k', fill(tmp_path, 'bdd100k'), 'fog', pipeline=[])
    with pytest.raises(TypeError, match='takes no data_prefix'):
        DomainDataset('bdd100k', tmp_path, data_prefix={}, pipeline=[])


OWN = """
tables:
  campus: {last: 3, road: [1], person: [2, 3]}
datasets:
  campus:
    title: Our campus
    root: campus
    image: photos/{name}.png
    label: masks/{name}.png
    ids: campus
    get: ask us.
  campus-2:
    title: Our campus, IDD's ids
    root: campus
    images: 7
    image: photos/{name}.png
    label: masks/{name}.png
    ids: idd-level3
    get: ask us.
"""


def test_own_file(tmp_path):
    file = tmp_path / 'my.yml'
    file.write_text(OWN)
    first, second = choose_domains([file])
    assert (first.name, first.images, second.name, second.images) == ('campus', None, 'campus-2', 7)
    assert first.table[:5].tolist() == [255, 0, 11, 11, -1] and second.table[25] == 10
    write(tmp_path / 'campus/photos/a/1.png', np.zeros((2, 4, 3), np.uint8))
    write(tmp_path / 'campus/masks/a/1.png', np.array(2 * [[0, 1, 2, 3]], np.uint8))
    entry = yaml.safe_load(OWN)['datasets']['campus'] | {'name': 'campus', 'ids': {'last': 3, 'road': [1]}}
    dataset = DomainDataset(entry, tmp_path / 'campus', pipeline=PIPELINE)
    assert dataset[0]['gt_seg_map'].tolist() == 2 * [[255, 0, 255, 255]]


@pytest.mark.parametrize(
    ('old', 'new', 'said'),
    [
        ('ids: campus', 'ids: kampus', "campus: ids must be one of labelIds, trainIds, idd-level3, .*, got 'kampus'"),
        ('person: [2, 3]', 'people: [2, 3]', "a class in ids must be one of road, .*, got 'people'"),
        ('person: [2, 3]', 'person: [2, 4]', r'ids must be integers from 0 to last, 3, .*, got \[1, 2, 4\]'),
        ('person: [2, 3]', 'person: [1]', r'each once, got \[1, 1\]'),
        ('person: [2, 3]', 'person: 2', 'ids must be lists of ids by class, and last'),
        ('last: 3, ', '', 'ids must be lists of ids by class, and last'),
        ('    get: ask us.\n  campus-2', '  campus-2', 'must be an entry with .*, got .none of get'),
        ('root: campus\n    images: 7', 'root: campus\n    images: many', "images must be a number above 0"),
        ('root: campus\n    images: 7', 'root: 7', 'root must be text, in quotes .*, got 7'),
        ('root: campus\n    images: 7', 'root: campus\n    imgs: 7', "a field must be one of .*, got 'imgs'"),
        ('label: masks/{name}.png\n    ids: idd', 'label: masks/{stem}.png\n    ids: idd', 'a path with one {name}'),
        ('image: photos/{name}.png\n    label: masks/{name}.png\n    ids: idd', 'image: p/{name}.{condition}\n'
         '    label: masks/{name}.png\n    ids: idd', 'where there are conditions'),
        ('images: 7', 'conditions: {a: x, b: y}', 'where there are conditions'),
        ('images: 7', 'conditions: {a: 0.5}', 'conditions must be texts by name'),
        ('images: 7', "sequence: '['", 'sequence must be a regular expression'),
        ('  campus-2:', '  Campus_2:', "a name must be lower-case letters, .*, got 'Campus_2'"),
        ('  campus-2:', '  clean:', "each under a name of its own, got 'clean'"),
        ('datasets:', 'data:', 'my.yml must be a YAML file with entries under datasets'),
        ('title: Our campus\n', 'title: "Our\n', 'my.yml is no YAML'),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_is_one_sentence(tmp_path, old, new, said):
    assert old in OWN
    file = tmp_path / 'my.yml'
    file.write_text(OWN.replace(old, new))
    with pytest.raises(ValueError, match=said) as caught:
        choose_domains([str(file)])
    assert '\n' not in str(caught.value)


def test_a_data_set_is_chosen_once(tmp_path):
    with pytest.raises(ValueError, match="each under a name of its own, got 'bdd100k'"):
        choose_domains(['bdd100k', 'muses', 'bdd100k'])
    with pytest.raises(FileNotFoundError, match=r"no file of data sets '.*/none.yml'"):
        choose_domains([tmp_path / 'none.yml'])


def test_sequence_that_is_in_no_name(tmp_path):
    (domain,) = choose_domains(['muses'])
    with pytest.raises(ValueError, match='muses: sequence must match the name of each image'):
        domain.unit_of('frame_camera/val/fog/day/x.png')


def test_table_of_the_docs():
    text = (Path(__file__).parents[2] / 'docs/how-to/domains.md').read_text()
    rows = [[cell.strip() for cell in line.split('|')[1:-1]] for line in text.splitlines() if line.startswith('| `')]
    assert rows[1:] == [
        [
            f'`{name}`',
            domain.title,
            domain.split,
            f'{domain.images:,}',
            str(len(domain.conditions) or 1),
            f'`{domain.root}`',
            f'0 to {domain.ids["last"]}' if domain.ids else 'trainIds',
        ]
        for name, domain in shipped_domains().items()
    ]


def test_file_of_the_docs(tmp_path):
    text = (Path(__file__).parents[2] / 'docs/how-to/domains.md').read_text()
    (tmp_path / 'my.yml').write_text(text.partition('```yaml\n')[2].partition('```')[0])
    (domain,) = choose_domains([tmp_path / 'my.yml'])
    assert domain.table[:5].tolist() == [255, 0, 11, 11, -1] and domain.unit_of('photos/a/1.jpg') == 'photos/a'
