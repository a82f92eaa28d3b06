"""MMEngine's file backend with atomic writes."""

from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from mmrobust.files import write_whole

__all__ = ['AtomicLocalBackend']


@register_backend('mmrobust_atomic')
class AtomicLocalBackend(LocalBackend):
    """MMEngine's local backend, but a file keeps its old content until all of the new one is on the disk.

    Use it as ``backend_args=dict(backend='mmrobust_atomic')``. The new content is written beside the file under the
    name with ``.tmp`` appended, which an error removes; what a killed process leaves there, the next try overwrites.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes, making the folder if need be.

        Raises:
            OSError: The disk is full or refuses; the file is what it was before.
        """
        write_whole(filepath, obj, temporary=f'{filepath}.tmp')

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text; otherwise as ``put``."""
        self.put(obj.encode(encoding), filepath)
