"""Loads images and labels, and refuses broken ones, which OpenCV does not."""

import functools
import io
import re

import mmcv
import numpy as np
from mmcv.transforms import LoadImageFromFile as MMCVLoadImageFromFile
from mmengine import fileio
from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import LoadAnnotations as MMSegLoadAnnotations

from mmrobust.registry import TRANSFORMS

PNG_START, JPEG_START, NPY_START = b'\x89PNG\r\n\x1a\n', b'\xff\xd8\xff', b'\x93NUMPY'
# in the data of a scan FF 00 is a byte, and FF D0 to FF D7 restart the decoder
JPEG_MARKER = re.compile(rb'\xff([^\x00\xff\xd0-\xd7])')


class BrokenImageError(ValueError):
    """A file is there, but is no whole image."""


@TRANSFORMS.register_module()
class LoadImageFromFile(MMCVLoadImageFromFile):
    """Load ``results['img_path']`` into ``results['img']``, (H, W, 3) BGR uint8, or float32 with ``to_float32``.

    Greyscale, 16-bit and RGBA files become 8-bit colour ones. A truncated file or a corrupt PNG is an error, where
    OpenCV fills the rest of a JPEG with grey and MMCV fails an assertion on a PNG. A JPEG that lacks bytes in its
    middle cannot be told from a whole one.

    An image that is there already, ``results['img']``, is taken as it is. In place of ``results`` the file's name or
    the image itself will do: so inferencers of OpenMMLab run the pipeline of a config.

    Args:
        to_float32: Whether the image becomes float32, in the same range 0 to 255.
        color_type: ``'color'``, or another flag of ``mmcv.imfrombytes``, which then decides the shape.
        imdecode_backend: Decoder, see ``mmcv.imfrombytes``.
        ignore_empty: Return None, which makes the dataset take another sample, where an error would be raised. Nothing
            says so: ``on_corrupt='skip'`` of the dataset does.
        backend_args: File backend of MMEngine; None reads local files.

    Raises:
        BrokenImageError: The file cannot be decoded completely; it is a ``ValueError``.
        ValueError: It cannot be decoded into 8-bit colour.
        FileNotFoundError: There is no such file.
    """

    def __init__(
        self,
        to_float32: bool = False,
        color_type: str = 'color',
        imdecode_backend: str = 'cv2',
        ignore_empty: bool = False,
        *,
        backend_args: dict | None = None,
    ) -> None:
        super().__init__(to_float32, color_type, imdecode_backend, ignore_empty=ignore_empty, backend_args=backend_args)

    def transform(self, results: dict | str | np.ndarray) -> dict | None:
        """Add img, img_shape and ori_shape (both (H, W))."""
        if not isinstance(results, dict):
            results = {'img' if isinstance(results, np.ndarray) else 'img_path': results}
        path = results.setdefault('img_path', None)
        try:
            img = results.get('img')
            if img is None:
                img = _decode(path, self.color_type, self.imdecode_backend, self.backend_args)
            if self.color_type.startswith('color') and (img.dtype != np.uint8 or img.shape[2:] != (3,)):
                raise ValueError(
                    f'The image {path} must become (H, W, 3) uint8, but {self.imdecode_backend} gives {img.shape} '
                    f"{img.dtype}: use imdecode_backend='cv2'."
                )
        except (ValueError, OSError):
            if self.ignore_empty:
                return None
            raise
        results['img'] = img.astype(np.float32) if self.to_float32 else img
        results['img_shape'] = results['ori_shape'] = img.shape[:2]
        return results


@TRANSFORMS.register_module()
class LoadAnnotations(MMSegLoadAnnotations):
    """Load ``results['seg_map_path']`` into ``results['gt_seg_map']``, (H, W) uint8, as MMSegmentation does.

    The label must be as large as the image (``results['ori_shape']``), of integers up to 255: others would become
    another class. Every value must be a class of the dataset or its ``ignore_index``: any ``BaseSegDataset`` of
    MMSegmentation that names its classes says ``num_classes`` and ``ignore_index`` of its label files. MMSegmentation's
    own step of this name, in a config of another project, loads and checks in the same way. Arrays in ``.npy`` files
    are read too.

    A dataset whose files hold ids of its own gives ``label_ids``, the class of each id from 0 to 255 and -1 for what is
    no id, and a mask of pixels that are not judged, where it is not 0, as ``invalid_path``.

    What comes from no dataset, as in ``inference_model`` of MMSegmentation, has no label and stays as it is.

    Args:
        reduce_zero_label: Whether 0 is ignored and the classes start at 1; None takes the dataset's word, and no other
            word than the dataset's is allowed.
        backend_args: File backend of MMEngine; None reads local files.
        imdecode_backend: Decoder; only ``'pillow'`` understands palettes.

    Raises:
        BrokenImageError: The file cannot be decoded completely; it is a ``ValueError``.
        ValueError: There is none, or it has another size than the image, or wrong values; ``reduce_zero_label`` is not
            the dataset's.
        FileNotFoundError: There is no such file.
    """

    def _load_seg_map(self, results: dict) -> None:
        if 'seg_fields' not in results:  # a dataset gives them
            return
        path = results.get('seg_map_path')
        if path is None:
            raise ValueError(
                f'The image {results.get("img_path")} must have a label to train or measure with, but its data set has '
                'none: name the folder in data_prefix.seg_map_path, or predict only, with tools/test.py --out DIR.'
            )
        label = _decode(path, 'unchanged', self.imdecode_backend, self.backend_args).squeeze()
        shape = tuple(results.get('ori_shape', label.shape[:2]))
        if label.shape != shape:
            remedy = ': its colours must be made numbers of classes' if label.ndim == 3 else ''
            raise ValueError(
                f'The label {path} must have the shape of its image, {shape}, but has {label.shape}{remedy}.'
            )
        label = _as_uint8(label, path)
        of_dataset = results.get('reduce_zero_label', self.reduce_zero_label)
        if self.reduce_zero_label not in (None, of_dataset):
            raise ValueError(
                f"LoadAnnotations.reduce_zero_label must be the dataset's, {of_dataset}, got {self.reduce_zero_label}: "
                'say it in the dataset, which metrics ask too.'
            )
        reduce_zero_label = bool(of_dataset)
        if 'label_ids' in results:
            label = _classes_of(label, results['label_ids'], path)
        elif 'num_classes' in results:
            _check_values(label, results['num_classes'] + reduce_zero_label, results['ignore_index'], path)
        if reduce_zero_label or results.get('label_map'):
            label = _renumbering(reduce_zero_label, results.get('label_map'))[label]
        if 'invalid_path' in results:
            invalid = _decode(results['invalid_path'], 'unchanged', self.imdecode_backend, self.backend_args).squeeze()
            if invalid.shape != label.shape:
                raise ValueError(
                    f'The mask {results["invalid_path"]} must have the shape of its label, {label.shape}, but has '
                    f'{invalid.shape}.'
                )
            label = np.where(invalid > 0, np.uint8(results['ignore_index']), label)
        results['gt_seg_map'] = label
        results['seg_fields'].append('gt_seg_map')


def _check_every_dataset() -> None:
    """Let every dataset of MMSegmentation say which values its label files may have, and its loading step check them.

    One without an image, of which MMEngine says "need at least one array to concatenate", says where it looked.
    """
    get_data_info, filter_data = BaseSegDataset.get_data_info, BaseSegDataset.filter_data

    @functools.wraps(get_data_info)
    def with_classes(self: BaseSegDataset, idx: int) -> dict:
        info = get_data_info(self, idx)
        classes = self.METAINFO.get('classes') or self._metainfo.get('classes')  # all, where metainfo takes some
        return info | dict(num_classes=len(classes), ignore_index=self.ignore_index) if classes else info

    @functools.wraps(filter_data)
    def with_images(self: BaseSegDataset) -> list[dict]:
        data_list = filter_data(self)
        if not data_list:
            raise ValueError(
                f'The data set {type(self).__name__} must have images, got none in {self.data_prefix.get("img_path")} '
                f'that ends in {self.img_suffix}: check data_root, data_prefix, ann_file and img_suffix.'
            )
        return data_list

    BaseSegDataset.get_data_info, BaseSegDataset.filter_data = with_classes, with_images
    MMSegLoadAnnotations._load_seg_map = functools.wraps(MMSegLoadAnnotations._load_seg_map)(
        lambda self, results: LoadAnnotations._load_seg_map(self, results)
    )


_check_every_dataset()


def _decode(path: str, flag: str, backend: str, backend_args: dict | None) -> np.ndarray:
    """Read and decode a whole image file.

    Raises:
        BrokenImageError: The file is truncated or cannot be decoded.
    """
    content = fileio.get(path, backend_args=backend_args)
    problem = _problem(content, flag, backend)
    if problem is None:
        try:
            if content.startswith(NPY_START):
                return np.load(io.BytesIO(content), allow_pickle=False)
            image = mmcv.imfrombytes(content, flag=flag, backend=backend)
            if image is not None:
                return image
            problem = f'{backend} cannot decode it'
        except Exception as error:  # every decoder has its own exceptions, OpenCV's spread over lines
            problem = ' '.join(str(error).split())
    raise BrokenImageError(f'The image {path} ({len(content)} bytes) is broken: {problem}.')


def _problem(content: bytes, flag: str, backend: str) -> str | None:
    """Say what the decoder would pass over in silence; None if there is nothing."""
    kind = lacks_end(content)
    if kind:
        return f'it is a {kind} without its end'
    is_16_bit_grey = content.startswith(PNG_START) and content[24:26] == b'\x10\x00'
    if is_16_bit_grey and backend == 'pillow' and flag != 'unchanged':
        return "it is a 16-bit greyscale PNG, which Pillow clips at 255: use imdecode_backend='cv2'"
    return None


def lacks_end(content: bytes) -> str | None:
    """``'PNG'`` or ``'JPEG'`` if the content is one without its end, else None.

    The parts are walked from the start. So what follows the end, as the film in a phone's photo does, does not count,
    nor does the end of a thumbnail in the header.
    """
    if content.startswith(PNG_START):
        place, kind = len(PNG_START), b''
        while kind != b'IEND' and place < len(content):
            kind = content[place + 4 : place + 8]
            place += 12 + int.from_bytes(content[place : place + 4], 'big')
        return None if kind == b'IEND' and place <= len(content) else 'PNG'
    if content.startswith(JPEG_START):
        place = 2
        while found := JPEG_MARKER.search(content, place):
            if found[1] == b'\xd9':
                return None
            if found[1] == b'\xd8':  # another image: this one has been cut off
                break
            place = found.end() + int.from_bytes(content[found.end() : found.end() + 2], 'big')
        return 'JPEG'
    return None


def _as_uint8(label: np.ndarray, path: str) -> np.ndarray:
    """The same label map as uint8, from 1-bit, 16-bit and other files, unless some values would become others."""
    if label.dtype == np.uint8:
        return label
    with np.errstate(invalid='ignore'):
        narrow = label.astype(np.uint8)
    why = 'but only integers from 0 to 255 are allowed: probably it holds instances or depths instead of classes.'
    _refuse(label[narrow != label], path, why)
    return narrow


def _check_values(label: np.ndarray, num_classes: int, ignore_index: int, path: str) -> None:
    """Look every pixel up in a table: 4 ms for 2048 x 1024, a tenth of decoding the image."""
    allowed = np.zeros(256, dtype=bool)
    allowed[:num_classes] = True
    if 0 <= ignore_index < 256:
        allowed[ignore_index] = True
    remedy = (
        'probably it holds labelIds instead of labelTrainIds (tools/dataset_converters/cityscapes.py converts them)'
        if num_classes == 19
        else 'name a class for every value in METAINFO, and those to train in metainfo=dict(classes=[...])'
    )
    why = f'but only 0 to {num_classes - 1} and {ignore_index} are allowed: {remedy}.'
    _refuse(label[~allowed[label]], path, why)


def _classes_of(label: np.ndarray, ids: np.ndarray, path: str) -> np.ndarray:
    """The class of each id."""
    classes = ids[label]
    why = 'which are no ids of this data set: check that these are the label files that its entry means, and the table '
    _refuse(label[classes < 0], path, f'{why}of ids there.')
    return classes.astype(np.uint8)


def _refuse(wrong: np.ndarray, path: str, why: str) -> None:
    """Raise ValueError for values of a label that must not be there, if there are any."""
    values = np.unique(wrong)
    if len(values):
        listed = ', '.join(map(str, values[:10])) + (', ...' if len(values) > 10 else '')
        raise ValueError(f'The label {path} has the values {listed}, {why}')


def _renumbering(reduce_zero_label: bool, label_map: dict[int, int] | None) -> np.ndarray:
    """Return the (256,) uint8 table of new values."""
    table = np.arange(256, dtype=np.uint8)
    if reduce_zero_label:
        table[:255] -= 1  # 0 becomes 255, which stays
    mapped = np.arange(256, dtype=np.uint8)
    for old, new in (label_map or {}).items():
        mapped[old] = new
    return mapped[table]
