"""Test sets of other streets, weathers and cameras with the 19 classes of Cityscapes; ``domains.yml`` lists them."""

import dataclasses
import functools
import os.path as osp
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from mmengine import fileio
from mmseg.datasets import BaseSegDataset
from mmseg.datasets import CityscapesDataset as MMSegCityscapesDataset
from mmseg.datasets.transforms import LoadAnnotations as MMSegLoadAnnotations

from mmrobust.datasets.cityscapes import LABEL_IDS, LabelsMissingError, absolute, files_below, refuse_places, sample_of
from mmrobust.datasets.seeded_sampling import SeededSampling
from mmrobust.datasets.transforms import LoadAnnotations
from mmrobust.registry import DATASETS

CLASSES: tuple[str, ...] = MMSegCityscapesDataset.METAINFO['classes']
SHIPPED = Path(__file__).with_suffix('.yml')
IGNORED, NO_ID = 255, -1
_CITYSCAPES = {'last': 33, **{name: [label_id] for name, label_id in zip(CLASSES, LABEL_IDS, strict=True)}}
_NAME = re.compile(r'[a-z0-9]+([.-][a-z0-9]+)*')  # part of the names of files
_HOLES = re.compile(r'(\{name\}|\{condition\}|\*)')


@dataclass(frozen=True)
class Domain:
    """A data set, as an entry of ``domains.yml`` describes it, which says what the fields mean.

    Raises:
        ValueError: a field has a value that is not allowed.
    """

    name: str
    title: str
    root: str
    image: tuple[str, ...]
    label: str
    get: str
    split: str = ''
    images: int | None = None
    ids: Mapping[str, Any] = field(default_factory=dict)
    conditions: Mapping[str, str] = field(default_factory=dict)
    sequence: str = ''
    listed_in: str = ''
    invalid: str = ''

    def __post_init__(self) -> None:
        for name in (self.name, *self.conditions):
            _require(_NAME.fullmatch(name), f'{self.name}: a name', 'lower-case letters, digits, "-" and "."', name)
        for pattern in (*self.image, self.label, *filter(None, [self.invalid])):
            of_images, varies = pattern in self.image, '{condition}' in pattern
            whole = pattern.count('{name}') == 1 and (of_images or '*' not in pattern)
            whole = whole and varies <= bool(self.conditions) and (varies or not of_images or not self.conditions)
            what = 'a path with one {name}, {condition} where there are conditions, and * only in image'
            _require(whole, f'{self.name}: image, label and invalid', what, pattern)
        try:
            re.compile(self.sequence)
        except re.error as error:
            raise ValueError(
                f'{self.name}: sequence must be a regular expression, got {self.sequence!r}: {error}'
            ) from error
        unknown = [key for key in self.ids if key not in (*CLASSES, 'last')]
        _require(not unknown, f'{self.name}: a class in ids', f'one of {", ".join(CLASSES)}', ', '.join(unknown))
        given = [label_id for key, found in self.ids.items() if key != 'last' for label_id in found]
        last = self.ids.get('last', -1)
        whole = all(type(label_id) is int and 0 <= label_id <= last < IGNORED for label_id in given)
        what = f'integers from 0 to last, {last}, which is below {IGNORED}, each once'
        _require(whole and len(set(given)) == len(given), f'{self.name}: ids', what, given)

    @property
    def table(self) -> np.ndarray | None:
        """Class of each id from 0 to 255, ``(256,)`` int16, -1 for what is no id; None where ids are classes."""
        if not self.ids:
            return None
        table = np.full(256, NO_ID, np.int16)
        table[: self.ids['last'] + 1] = table[IGNORED] = IGNORED
        for index, name in enumerate(CLASSES):
            table[self.ids.get(name, [])] = index
        return table

    def unit_of(self, image: str) -> str:
        """The sequence that an image, given below the root, is a frame of; the image itself where that is not known.

        Raises:
            ValueError: the expression for it is not in the name.
        """
        found = re.search(self.sequence, image)
        if found is None:
            raise ValueError(
                f'{self.name}: sequence must match the name of each image, got {self.sequence!r} and {image}'
            )
        return found[0] or image

    def where(self, condition: str | None = None) -> str:
        """The images of a condition, as a pattern that a reader understands."""
        return ' or '.join(_filled(pattern, self._part(condition)).replace('{name}', '**/*') for pattern in self.image)

    def find(self, root: str, condition: str | None, backend_args: dict | None = None) -> list[tuple[str, str, str]]:
        """Image, label and mask of invalid pixels (or '') of a condition, below the root, sorted by image.

        Raises:
            FileNotFoundError: there is no root, or no label of an image.
            ValueError: there is no image.
        """
        part = self._part(condition)
        if not fileio.exists(root, backend_args=backend_args):
            raise FileNotFoundError(f'There is no {self.title} in {absolute(root)}: {self.get}')
        taken = None
        if self.listed_in:
            path = osp.join(root, self.listed_in)
            if not fileio.exists(path, backend_args=backend_args):
                raise FileNotFoundError(
                    f'There is no {absolute(path)}, which lists the images of {self.title}: {self.get}'
                )
            taken = set(fileio.get_text(path, backend_args=backend_args).split())
        names = {
            path: name
            for pattern in self.image
            for path, name in _matches(root, _filled(pattern, part), backend_args)
            if taken is None or path in taken
        }
        if not names:
            raise ValueError(
                f'There is no image of {self.title} in {absolute(root)}, looked for {self.where(condition)}: {self.get}'
            )
        label, invalid = (_filled(pattern, part) for pattern in (self.label, self.invalid))
        found = [(path, *(of.replace('{name}', names[path]) for of in (label, invalid))) for path in sorted(names)]
        for index, pattern in ((1, label), (2, invalid)):
            present = {path for path, _ in _matches(root, pattern, backend_args)} if pattern else {''}
            missing = [osp.join(root, files[index]) for files in found if files[index] not in present]
            if missing:
                raise LabelsMissingError(missing, len(found), self.get)
        return found

    def _part(self, condition: str | None) -> str:
        if condition is None and not self.conditions:
            return ''
        allowed = ', '.join(self.conditions) or 'None'
        _require(condition in self.conditions, f'condition of {self.name}', f'one of {allowed}', condition)
        return self.conditions[condition]


@DATASETS.register_module()
class DomainDataset(SeededSampling, BaseSegDataset):
    """A data set that ``domains.yml`` describes, with the 19 classes of Cityscapes; 255 is ignored.

    Args:
        domain: its name there, or an entry of the same form.
        data_root: its own folder.
        condition: one of its conditions; None where it has none.
        **kwargs: as in ``mmseg.BaseSegDataset``, except for those that say where files lie.

    Raises:
        FileNotFoundError: there is no such folder, or there are images without a label.
        ValueError: there is no such data set or condition, an entry is wrong, there is no image, or the pipeline
            loads labels with a step that does not know their ids.
        TypeError: an argument says where files lie, such as ``data_prefix``.
    """

    METAINFO = MMSegCityscapesDataset.METAINFO

    def __init__(
        self, domain: str | Mapping[str, Any], data_root: str, condition: str | None = None, **kwargs: Any
    ) -> None:
        refuse_places(self, 'domain, data_root and condition', kwargs)
        self.domain = choose_domains([domain])[0] if isinstance(domain, str) else _entry('domain', domain, _tables())
        self.condition = condition
        self._table = self.domain.table
        super().__init__(data_root=str(data_root), data_prefix={}, **kwargs)
        loads = [type(step) for step in self.pipeline.transforms if hasattr(step, '_load_seg_map')]
        known = (LoadAnnotations._load_seg_map, MMSegLoadAnnotations._load_seg_map)
        strange = [kind.__name__ for kind in loads if kind._load_seg_map not in known]
        if strange and (self.domain.ids or self.domain.invalid):  # it would take ids for classes
            raise ValueError(
                f'The pipeline must load labels with mmrobust.LoadAnnotations, which knows the ids of '
                f'{self.domain.name}, got {strange[0]}: replace that step.'
            )

    def load_data_list(self) -> list[dict]:
        """Return one dict per image, sorted by its path."""
        data_list = []
        for files in self.domain.find(self.data_root, self.condition, self.backend_args):
            image, label, invalid = (osp.join(self.data_root, file) if file else None for file in files)
            data_list.append(sample_of(self, img_path=image, seg_map_path=label, invalid_path=invalid))
        return data_list

    def get_data_info(self, idx: int) -> dict:
        """One of them, with the class of each id in its label file."""
        info = super().get_data_info(idx)
        return info if self._table is None else info | dict(label_ids=self._table)


@functools.cache
def shipped_domains() -> dict[str, Domain]:
    """The data sets of ``domains.yml`` by name."""
    return _read(SHIPPED)


def choose_domains(names: Sequence[str | Path]) -> list[Domain]:
    """Data sets by name, and all of each file ``*.yml`` of one's own, in this order.

    Raises:
        ValueError: there is no such name, one comes twice, or a file is wrong.
        FileNotFoundError: there is no such file.
    """
    found: list[Domain] = []
    for name in map(str, names):
        if name.endswith(('.yml', '.yaml')):
            found += _read(Path(name)).values()
        elif name in shipped_domains():
            found.append(shipped_domains()[name])
        else:
            raise ValueError(
                f'datasets must be some of {", ".join(shipped_domains())}, or a YAML file in the form of {SHIPPED}, '
                f'got {name!r}'
            )
    cells = ['clean', *(name for domain in found for name in cell_names(domain))]
    twice = sorted({name for name in cells if cells.count(name) > 1})
    _require(not twice, 'datasets', 'some, each under a name of its own', ', '.join(twice))
    return found


def cell_names(domain: Domain) -> dict[str, str | None]:
    """What each condition of a data set is called, among others; of one without conditions, what it is called."""
    return {f'{domain.name}-{condition}': condition for condition in domain.conditions} or {domain.name: None}


def _read(path: Path) -> dict[str, Domain]:
    content = _content(path)
    whole = isinstance(content.get('datasets'), dict) and content['datasets']
    _require(whole, str(path), f'a YAML file with entries under datasets, as {SHIPPED} has them', str(content)[:80])
    own = content.get('tables') or {}
    _require(isinstance(own, dict), f'{path}: tables', 'tables of ids by name', own)
    found = {}
    for name, given in content['datasets'].items():
        _require(isinstance(given, dict), f'{path}: {name}', 'fields by name', given)
        found[str(name)] = _entry(str(path), given | {'name': str(name)}, _tables() | own)
    return found


@functools.cache
def _tables() -> dict[str, Any]:
    """Tables of ids that any entry may name."""
    return {'labelIds': _CITYSCAPES, 'trainIds': {}, **_content(SHIPPED)['tables']}


def _content(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f'There is no file of data sets {str(path)!r}: {SHIPPED} shows the form.')
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f'{path} is no YAML: {" ".join(str(error).split())}') from error
    _require(isinstance(content, dict), str(path), f'a YAML file in the form of {SHIPPED}', str(content)[:80])
    return content


def _entry(where: str, given: Mapping[str, Any], tables: Mapping[str, Any]) -> Domain:
    """An entry as it stands in a file, with its name.

    Raises:
        ValueError: a field is missing, unknown or of another type.
    """
    where = f'{where}: {given.get("name")}'
    fields = {of.name: of.type for of in dataclasses.fields(Domain)}
    unknown = [str(key) for key in given if key not in fields]
    _require(not unknown, f'{where}: a field', f'one of {", ".join(fields)}', ', '.join(unknown))
    lacking = [key for key in ('name', 'title', 'root', 'image', 'label', 'ids', 'get') if key not in given]
    _require(
        not lacking, where, 'an entry with title, root, image, label, ids and get', f'none of {", ".join(lacking)}'
    )
    image, table = given['image'], given['ids']
    image = tuple(image) if isinstance(image, list | tuple) else (image,)
    if isinstance(table, str):
        _require(table in tables, f'{where}: ids', f'one of {", ".join(tables)}, or a table', table)
        table = tables[table]
    whole = isinstance(table, dict) and all(isinstance(of, int if key == 'last' else list) for key, of in table.items())
    _require(whole and ('last' in table) >= bool(table), f'{where}: ids', 'lists of ids by class, and last', table)
    texts = {key: of for key, of in given.items() if fields[key] is str} | {'image': image}
    for key, of in texts.items():
        whole = all(isinstance(text, str) for text in (of if isinstance(of, tuple) else (of,)))
        _require(whole, f'{where}: {key}', 'text, in quotes where it looks like something else', of)
    images, conditions = given.get('images'), given.get('conditions') or {}
    _require(images is None or (type(images) is int and images > 0), f'{where}: images', 'a number above 0', images)
    whole = isinstance(conditions, dict) and all(isinstance(of, str) for item in conditions.items() for of in item)
    _require(whole, f'{where}: conditions', 'texts by name, in quotes where they are numbers', conditions)
    return Domain(**{**given, 'image': image, 'ids': table, 'conditions': conditions})


def _require(whole: Any, what: str, allowed: str, got: Any) -> None:
    if not whole:
        raise ValueError(f'{what} must be {allowed}, got {got!r}')


def _filled(pattern: str, condition: str) -> str:
    return pattern.replace('{condition}', condition)


def _matches(root: str, pattern: str, backend_args: dict | None) -> list[tuple[str, str]]:
    """Files below a root that a pattern fits, each with what its ``{name}`` is; ``*`` is anything without ``/``."""
    parts = _HOLES.split(pattern)
    fixed = parts[0].rpartition('/')[0]
    holes = {'{name}': '(?P<name>.+)', '*': '[^/]*'}
    expression = re.compile(''.join(holes.get(part) or re.escape(part) for part in parts))
    paths = (osp.join(fixed, path) for path in files_below(osp.join(root, fixed), backend_args))
    found = ((path, expression.fullmatch(path)) for path in paths)
    return [(path, match['name']) for path, match in found if match]
