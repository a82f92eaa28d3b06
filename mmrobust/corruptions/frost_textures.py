"""The images of frost, taken from the files of the installed distribution imagecorruptions-imaug (Apache-2.0)."""

import functools
import importlib.metadata

import cv2
import numpy as np

DISTRIBUTION = 'imagecorruptions-imaug'
# There is a sixth, frost6.jpg, which the published corruption never draws.
FILES = ('frost1.png', 'frost2.png', 'frost3.png', 'frost4.jpg', 'frost5.jpg')


@functools.cache
def frost_texture(index: int) -> np.ndarray:
    """Read one of the five images; from the second time on it comes from memory.

    The distribution is looked up and not imported: importing it would compile code with numba.

    Args:
        index: into ``FILES``.

    Returns:
        RGB uint8 ``(H, W, 3)``, read-only; from 315 x 560 to 600 x 900.

    Raises:
        FileNotFoundError: the distribution is not installed, or its images are not where they should be.
    """
    try:
        files = importlib.metadata.files(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        raise FileNotFoundError(
            f'frost needs the images in the package {DISTRIBUTION}, which is not installed: pip install {DISTRIBUTION}'
        ) from None
    for file in files:
        if file.parts[-2:] == ('frost', FILES[index]):
            texture = cv2.imread(str(file.locate()), cv2.IMREAD_COLOR)
            if texture is not None:
                texture = cv2.cvtColor(texture, cv2.COLOR_BGR2RGB)
                texture.flags.writeable = False
                return texture
    raise FileNotFoundError(
        f'frost needs {FILES[index]} of the package {DISTRIBUTION}, which is installed without it: '
        f'pip install --force-reinstall {DISTRIBUTION}'
    )
