"""The canvas: image, label, light and depth are drawn together, by the same masks.

A scene is not painted in its final colours. The canvas holds what is seen (``albedo``), what it is (``label``), how the
light can reach it (``light``) and how far it is (``depth``); `weather` turns that into an image. So the clear, foggy,
dark, wet and snowy images of a street agree in every pixel of their label. All is drawn ``SUPERSAMPLING`` times
larger with hard masks; averaging afterwards smooths the edges of the image, the label stays hard.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from mmseg.datasets import CityscapesDataset

from .camera import NEAR, Camera, Sun

SUPERSAMPLING = 2
FAR = 1e4
_SHIFT = 4  # fractional bits of OpenCV's polygon corners

# the 19 classes of Cityscapes: names, the three encodings of a label, colours
CLASSES: tuple[str, ...] = CityscapesDataset.METAINFO['classes']
PALETTE = tuple(map(tuple, CityscapesDataset.METAINFO['palette']))
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
IGNORE = 255
EGO_VEHICLE_ID = 1  # the only ignored region MiniCity draws: the bonnet of the camera car

TRAIN_ID = {name: train_id for train_id, name in enumerate(CLASSES)}

_TO_LABEL_ID = np.full(256, EGO_VEHICLE_ID, np.uint8)
_TO_LABEL_ID[: len(CLASSES)] = LABEL_IDS
_TO_COLOR = np.zeros((256, 3), np.uint8)
_TO_COLOR[: len(CLASSES)] = PALETTE

Color = Sequence[float]


class Canvas:
    """Buffers of one scene, ``camera.height`` x ``camera.width``.

    Attributes:
        albedo: (H, W, 3) uint8, RGB.
        label: (H, W) uint8 train ids.
        light: (H, W, 4) uint8: facing the sun, open to the sky, facing up (each 0..255), lamp kind (see `weather`).
        depth: (H, W) float32, z in metres.
    """

    def __init__(self, camera: Camera, sun: Sun) -> None:
        shape = (camera.height, camera.width)
        self.camera = camera
        self.sun = sun
        self.toward_sun = sun.direction
        self.eye = np.array([0.0, camera.eye, 0.0])
        self.albedo = np.zeros((*shape, 3), np.uint8)
        self.label = np.full(shape, 255, np.uint8)
        self.light = np.zeros((*shape, 4), np.uint8)
        self.depth = np.full(shape, FAR, np.float32)

    def polygon(
        self, corners: np.ndarray, label: int, color: Color | None, light: Sequence[float], depth: float
    ) -> None:
        """Fill a polygon given by pixel corners (N, 2); without a colour only its label and depth are drawn."""
        points = [np.round(corners * (1 << _SHIFT)).astype(np.int32)]
        cv2.fillPoly(self.label, points, label, shift=_SHIFT)
        cv2.fillPoly(self.depth, points, depth, shift=_SHIFT)
        if color is not None:
            cv2.fillPoly(self.albedo, points, [float(c) for c in color], shift=_SHIFT)
            cv2.fillPoly(self.light, points, [float(v) for v in light], shift=_SHIFT)

    def window(self, corners: np.ndarray) -> tuple[slice, slice] | None:
        """Rows and columns around pixel corners (N, 2), or None when they lie outside the image."""
        left, top = np.floor(corners.min(0)).astype(int)
        right, bottom = np.ceil(corners.max(0)).astype(int) + 1
        left, top = max(left, 0), max(top, 0)
        right, bottom = min(right, self.camera.width), min(bottom, self.camera.height)
        return (slice(top, bottom), slice(left, right)) if left < right and top < bottom else None

    def shade(self, normal: np.ndarray, lamp: int = 0) -> tuple[float, float, float, float]:
        """Light entry of a surface with this unit normal (3,)."""
        sun = max(0.0, float(normal @ self.toward_sun))
        sky = 0.62 + 0.38 * float(normal[1]) if normal[1] > -0.5 else 0.3
        return 255 * sun, 255 * sky, 255 * max(0.0, float(normal[1])), lamp

    def face(self, points: np.ndarray, label: int, color: Color, inside: np.ndarray, lamp: int = 0) -> None:
        """Fill a flat polygon of world points (N, 3) if its front is seen; ``inside`` (3,) is a point behind it."""
        (ax, ay, az), (bx, by, bz) = points[1] - points[0], points[2] - points[0]
        normal = np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])  # np.cross takes ten times as long
        normal /= np.sqrt(normal @ normal) + 1e-9
        if normal @ (points[0] - inside) < 0:
            normal = -normal
        if normal @ (self.eye - points[0]) <= 0:
            return
        near, far = points[:, 2].min(), points[:, 2].max()
        if near < NEAR:
            points = self.camera.clip(points)
            if len(points) < 3:
                return
            near, far = points[:, 2].min(), points[:, 2].max()
        corners = self.camera.project(points)
        self.polygon(corners, label, color, self.shade(normal, lamp), (near + far) / 2)
        if far > 1.15 * near:
            self._slant(corners, normal, points[0])

    def _slant(self, corners: np.ndarray, normal: np.ndarray, point: np.ndarray) -> None:
        """Write the true depth of a plane inside a polygon: 1 / z is linear in the image."""
        window = self.window(corners)
        if window is None:
            return
        rows, columns = window
        mask = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
        points = np.round((corners - (columns.start, rows.start)) * (1 << _SHIFT)).astype(np.int32)
        cv2.fillPoly(mask, [points], 1, shift=_SHIFT)
        np.copyto(self.depth[window], self.plane_depth(window, normal, point), where=mask.astype(bool))

    def plane_depth(self, window: tuple[slice, slice], normal: np.ndarray, point: np.ndarray) -> np.ndarray:
        """z of the plane through ``point`` (3,) with this normal, for the pixels of a window, float32."""
        camera = self.camera
        x = (np.arange(window[1].start, window[1].stop, dtype=np.float32) - camera.centre) / camera.focal
        y = (camera.horizon - np.arange(window[0].start, window[0].stop, dtype=np.float32)) / camera.focal
        offset = float(normal @ (point - self.eye))
        inverse = (normal[0] * x[None] + normal[1] * y[:, None] + normal[2]) / offset
        return (1 / np.maximum(inverse, 1 / FAR)).astype(np.float32)

    def textured(
        self,
        corners: np.ndarray,
        label: int,
        texture: np.ndarray,
        inside: np.ndarray,
        lamps: np.ndarray | None = None,
        opaque: np.ndarray | None = None,
    ) -> None:
        """Stretch a texture over a world rectangle if its front is seen.

        Args:
            corners: (4, 3), in the order of the texture's corners: top left, top right, bottom right, bottom left.
            texture: (h, w, 3) uint8 RGB.
            inside: (3,) point behind the rectangle.
            lamps: (h, w) uint8 lamp kinds.
            opaque: (h, w) uint8, 0 where one sees through; the label covers the gaps too, as annotators do.
        """
        normal = np.cross(corners[1] - corners[0], corners[3] - corners[0])
        normal = normal / np.linalg.norm(normal)
        if normal @ (corners[0] - inside) < 0:
            normal = -normal
        if normal @ (self.eye - corners[0]) <= 0 or corners[:, 2].min() < 0.3:
            return
        pixels = self.camera.project(corners)
        window = self.window(pixels)
        if window is None:
            return
        rows, columns = window
        size = (columns.stop - columns.start, rows.stop - rows.start)
        pixels = (pixels - (columns.start, rows.start)).astype(np.float32)
        height, width = texture.shape[:2]
        frame = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32) - 0.5
        matrix = cv2.getPerspectiveTransform(frame, pixels)
        filled = np.zeros(size[::-1], np.uint8)
        cv2.fillConvexPoly(filled, np.round(pixels * (1 << _SHIFT)).astype(np.int32), 1, shift=_SHIFT)
        filled = filled.astype(bool)
        shown = filled
        if opaque is not None:
            shown = filled & (cv2.warpPerspective(opaque, matrix, size, borderMode=cv2.BORDER_REPLICATE) > 96)
        warped = cv2.warpPerspective(texture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        light = np.empty((*size[::-1], 4), np.uint8)
        light[:] = np.round(self.shade(normal))
        if lamps is not None:
            light[..., 3] = cv2.warpPerspective(lamps, matrix, size, flags=cv2.INTER_NEAREST)
        np.copyto(self.label[window], np.uint8(label), where=filled)
        np.copyto(self.albedo[window], warped, where=shown[..., None])
        np.copyto(self.light[window], light, where=shown[..., None])
        np.copyto(self.depth[window], self.plane_depth(window, normal, corners[0]), where=shown)

    def sprite(
        self, albedo: np.ndarray, light: np.ndarray, mask: np.ndarray, box: Sequence[float], label: int, depth: float
    ) -> None:
        """Paste a flat image, upright and facing the camera.

        Args:
            albedo: (h, w, 3) uint8 RGB.
            light: (h, w, 4) uint8, as in the canvas.
            mask: (h, w) uint8, 255 where the sprite is solid.
            box: left, top, right, bottom in pixels.
        """
        left, top = round(box[0]), round(box[1])
        size = max(1, round(box[2]) - left), max(1, round(box[3]) - top)
        window = self.window(np.array([[left, top], [left + size[0] - 1, top + size[1] - 1]], float))
        if window is None:
            return
        cut = (
            slice(window[0].start - top, window[0].stop - top),
            slice(window[1].start - left, window[1].stop - left),
        )
        solid = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)[cut] > 110
        np.copyto(self.label[window], np.uint8(label), where=solid)
        np.copyto(self.depth[window], np.float32(depth), where=solid)
        shrunk = cv2.resize(albedo, size, interpolation=cv2.INTER_AREA)[cut]
        np.copyto(self.albedo[window], shrunk, where=solid[..., None])
        shrunk = cv2.resize(light, size, interpolation=cv2.INTER_AREA)[cut]
        np.copyto(self.light[window], shrunk, where=solid[..., None])


def to_label_ids(train_ids: np.ndarray) -> np.ndarray:
    """Cityscapes label ids (uint8) of a train id map (uint8, 0..18 or 255), same shape."""
    return _TO_LABEL_ID[train_ids]


def to_color(train_ids: np.ndarray) -> np.ndarray:
    """The official colours, (H, W, 3) uint8 RGB, of a train id map (H, W) uint8; ignored pixels are black."""
    return _TO_COLOR[train_ids]
