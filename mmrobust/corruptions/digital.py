"""Digital corruptions: brightness, contrast, elastic_transform, pixelate, jpeg_compression, saturate.

Algorithms and constants are those of imagecorruptions 1.1.2 (Michaelis et al., 2019, Apache-2.0), after ImageNet-C
(Hendrycks and Dietterich, 2019); the code is our own. All functions take and return RGB uint8 ``(H, W, 3)``. All but
elastic_transform are deterministic, and give the same bits as published; like there, the fraction of a grey level is
cut off and not rounded.
"""

import cv2
import numpy as np

from .kernels import smooth

# Constants for severity 1 to 5, from imagecorruptions.
BRIGHTNESS_ADDED = (0.1, 0.2, 0.3, 0.4, 0.5)  # to HSV's value
CONTRAST_FACTOR = (0.4, 0.3, 0.2, 0.1, 0.05)  # of the distance from the mean
ELASTIC_FACTOR = (250 * 0.05, 250 * 0.065, 250 * 0.085, 250 * 0.1, 250 * 0.12)  # of the smoothed noise
PIXELATE_SIDE = (0.6, 0.5, 0.4, 0.3, 0.25)  # of the small image, against the image's
JPEG_QUALITY = (25, 18, 15, 10, 7)
SATURATE_FACTOR_AND_ADDED = ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2))  # to HSV's saturation

ELASTIC_NOISE = 0.005  # amplitude of the noise on both axes as a part of the image's height, as published
ELASTIC_SIGMA = 0.01  # of the smoothing, as a part of either side
ELASTIC_TRUNCATE = 3.0  # the smoothing ends after so many sigmas

_STRIP_PIXELS = 2**16  # worked on at a time, so that memory for intermediate values is little and used again


def brightness(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Add a constant to the value (the brightest channel) in HSV space. Deterministic, ``rng`` is not used."""
    return _change_hsv(image, value_added=BRIGHTNESS_ADDED[severity - 1])


def saturate(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Scale the saturation in HSV space: towards grey at severity 1 and 2, away from it above. Deterministic.

    Severity 4 and 5 also add a constant, which turns grey pixels reddish: HSV knows grey by the hue of red.
    """
    factor, added = SATURATE_FACTOR_AND_ADDED[severity - 1]
    return _change_hsv(image, saturation_factor=factor, saturation_added=added)


def contrast(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Pull every channel towards its mean over the image. Deterministic, ``rng`` is not used."""
    levels = _contrast_levels(np.array(cv2.mean(image)[:3]) / 255, severity)
    if np.abs(levels - np.rint(levels)).min() < 1e-9:
        # Of a level that is whole but for rounding the last bit of the mean decides how it is cut off: that of the
        # published mean, which is added up pixel by pixel and takes its time.
        levels = _contrast_levels(np.mean(image / 255, axis=(0, 1)), severity)
    return cv2.LUT(image, levels.astype(np.uint8)[np.newaxis])


def _contrast_levels(mean: np.ndarray, severity: int) -> np.ndarray:
    """Lookup table of grey levels per channel, ``(256, 3)``, given the channels' means in [0, 1]."""
    level = np.arange(256)[:, np.newaxis] / 255
    return np.clip((level - mean) * CONTRAST_FACTOR[severity - 1] + mean, 0, 1) * 255


def elastic_transform(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Move every pixel by a smooth random field: uniform noise, blurred and scaled (without an affine part)."""
    height, width = image.shape[:2]
    factor, noise = np.float32(ELASTIC_FACTOR[severity - 1]), np.float32(ELASTIC_NOISE * height)
    positions = []
    for pixel in (np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, np.newaxis]):
        field = rng.random((height, width), dtype=np.float32)
        field -= 0.5
        field *= 2 * noise
        field = smooth(field, (ELASTIC_SIGMA * height, ELASTIC_SIGMA * width), ELASTIC_TRUNCATE, cv2.BORDER_REFLECT)
        field *= factor
        field += pixel
        positions.append(field)
    # in float32, because cv2 would round 8-bit results
    moved = cv2.remap(image.astype(np.float32), *positions, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return moved.astype(np.uint8)


def pixelate(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Average over boxes of whole pixels and enlarge again, as Pillow's BOX and NEAREST filters do. Deterministic."""
    height, width = image.shape[:2]
    part = PIXELATE_SIDE[severity - 1]
    rows, columns = int(height * part), int(width * part)
    down, right = _boxes(height, rows), _boxes(width, columns)
    row_of, column_of = _nearest(rows, height), _nearest(columns, width)
    # Pillow rounds to 8 bits between the two directions, so their order decides single grey levels. This is that of
    # Pillow 13; up to Pillow 12 the horizontal one always came first.
    horizontal_first = height - rows <= 2 * (width - columns)
    out = np.empty_like(image)
    step = max(1, _STRIP_PIXELS // width)
    for start in range(0, rows, step):
        first, last = down[:, start : start + step]
        # four bytes to a pixel can be moved at once
        pixels = cv2.cvtColor(image[first[0] : last[-1]], cv2.COLOR_RGB2RGBA).view(np.uint32)[..., 0]
        passes = [(right, 1), ((first - first[0], last - first[0]), 0)]
        for boxes, axis in passes if horizontal_first else passes[::-1]:
            pixels = _average_boxes(pixels, *boxes, axis)
        pixels = np.take(pixels, column_of, axis=1)
        strip = cv2.cvtColor(pixels.view(np.uint8).reshape(*pixels.shape, 4), cv2.COLOR_RGBA2RGB)
        begin, end = np.searchsorted(row_of, (start, start + step))
        np.take(strip, row_of[begin:end] - start, axis=0, out=out[begin:end])
    return out


def jpeg_compression(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Compress as JPEG with 4:2:0 chroma subsampling, and decompress. Deterministic, ``rng`` is not used."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY[severity - 1]])
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def _change_hsv(
    image: np.ndarray, value_added: float = 0, saturation_factor: float = 1, saturation_added: float = 0
) -> np.ndarray:
    """Change value and saturation in HSV space and clip them to [0, 1].

    Of a pixel's channels the largest is HSV's value v, the smallest is v (1 - s) and the middle one v (1 - w s), where
    w in [0, 1] comes from the hue alone. So nothing is sorted into sextants and back but this one number. The steps
    that lead to it are scikit-image's, in float64: the result is often a whole grey level but for the rounding, which
    then decides how it is cut off.
    """
    channels = [channel.ravel() for channel in cv2.split(image)]
    out = np.empty(image.shape, np.uint8)
    out_pixels = out.reshape(-1, 3)
    unit = np.arange(256) / 255
    for start in range(0, len(out_pixels), _STRIP_PIXELS):
        pixels = slice(start, start + _STRIP_PIXELS)
        red, green, blue = (channel[pixels] for channel in channels)
        largest = np.maximum(np.maximum(red, green), blue)
        smallest = np.minimum(np.minimum(red, green), blue)
        value = unit[largest]
        chroma = value - unit[smallest]
        saturation = chroma / np.maximum(value, unit[1])
        weight = _middle_weight(*(unit[channel] for channel in (red, green, blue)), value, chroma)

        saturation *= saturation_factor
        saturation += saturation_added
        np.minimum(saturation, 1, out=saturation)
        value += value_added
        np.minimum(value, 1, out=value)
        v = (value * 255).astype(np.uint8)
        p = (value * (1 - saturation) * 255).astype(np.uint8)
        m = (value * (1 - weight * saturation) * 255).astype(np.uint8)

        # of a grey pixel all three are the largest and the smallest: HSV takes it for a red one
        out_pixels[pixels, 0] = np.where(red == largest, v, np.where(red == smallest, p, m))
        for index, channel in ((1, green), (2, blue)):
            out_pixels[pixels, index] = np.where(channel == smallest, p, np.where(channel == largest, v, m))
    return out


def _middle_weight(
    red: np.ndarray, green: np.ndarray, blue: np.ndarray, value: np.ndarray, chroma: np.ndarray
) -> np.ndarray:
    """How far from the largest to the smallest channel the middle one lies, by way of the hue; any number for grey."""
    green_leads, blue_leads = green == value, blue == value
    hue = np.where(blue_leads, red - green, np.where(green_leads, blue - red, green - blue))
    hue /= np.maximum(chroma, 1e-9)  # grey levels are further apart
    hue += np.where(blue_leads, 4.0, np.where(green_leads, 2.0, 0.0))
    hue /= 6
    hue += hue < 0
    hue *= 6
    sextant = np.floor(hue)
    hue -= sextant
    return np.where(sextant.astype(np.uint8) & 1, hue, 1 - hue)


def _boxes(side: int, count: int) -> np.ndarray:
    """Cut a side into boxes of whole pixels: int ``(2, count)``, the first pixel of each and the one after its last."""
    scale = side / count
    centre = (np.arange(count) + 0.5) * scale
    first = (centre - scale / 2 + 0.5).astype(int)
    last = np.minimum((centre + scale / 2 + 0.5).astype(int), side)
    # a pixel belongs to the box if its middle does; written as Pillow does, since many lie on the edge but for rounding
    first += (first - centre + 0.5) * (1 / scale) <= -0.5
    last -= (last - 1 - centre + 0.5) * (1 / scale) > 0.5
    return np.stack([first, last])


def _average_boxes(pixels: np.ndarray, first: np.ndarray, last: np.ndarray, axis: int) -> np.ndarray:
    """Shrink an image along one axis to the means of boxes, halves rounded up.

    Args:
        pixels: uint32 ``(H, W)``, each four values of 8 bits.
        first: the boxes' first pixel.
        last: the one after their last.
    """
    sizes = last - first
    means, order = [], []
    for size in np.unique(sizes):
        boxes = np.flatnonzero(sizes == size)
        total = np.array([size // 2], np.uint16)
        for offset in range(size):
            total = total + np.take(pixels, first[boxes] + offset, axis).view(np.uint8)
        total //= np.uint16(size)
        means.append(total.astype(np.uint8).view(np.uint32))
        order.append(boxes)
    return np.take(np.concatenate(means, axis), np.argsort(np.concatenate(order)), axis)


def _nearest(side: int, count: int) -> np.ndarray:
    """Indices of the pixels that ``count`` enlarged from ``side`` are copies of."""
    step = side / count
    # added up one by one, as Pillow does: where a position is a whole number but for rounding, the sum decides
    return np.cumsum([step / 2, *[step] * (count - 1)]).astype(int)
