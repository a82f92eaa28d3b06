"""Write a trained model as a folder for the Hugging Face Hub: model.safetensors, config.py and a model card.

python tools/model_converters/to_hub.py CONFIG CHECKPOINT hub/fan_tap_adl_minicity
python tools/model_converters/to_hub.py CONFIG CHECKPOINT hub/mine --license apache-2.0
python tools/test.py hub/fan_tap_adl_minicity/config.py hub/fan_tap_adl_minicity/model.safetensors     # to use it

model.safetensors holds the weights, config.py the config with its bases merged, README.md the model card. Every tool
takes the first two as checkpoint and config. Optimizer and training state stay behind. Nothing is uploaded;
`hf upload OWNER/NAME hub/fan_tap_adl_minicity` does that.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmrobust import cli  # first: it checks the OpenMMLab stack, and prepares it for Config.fromfile

# isort: split
import safetensors.torch
import torch
import yaml
from mmengine.config import Config

from mmrobust.checkpoint import check_finite, fitting, load_checkpoint_file
from mmrobust.complexity import build, parameters_of
from mmrobust.files import write_whole

META = ('dataset_meta', 'epoch', 'iter', 'experiment_name', 'mmengine_version')  # what is kept of a checkpoint's meta
_TASKS = {'mmseg': 'image-segmentation', 'mmpretrain': 'image-classification'}

_CARD = """---
{front_matter}---
# {name}

{parameters:.1f} million parameters, trained with mmrobust. `config.py` is the whole recipe.

    pip install -e '.[onedl]'    # in a checkout of mmrobust; it is not on PyPI

```python
from mmrobust import cli  # it prepares MMEngine to read both files
from mmengine.runner import load_checkpoint

from mmrobust.complexity import build

model = build(cli.load_config('config.py')).eval()
load_checkpoint(model, 'model.safetensors', map_location='cpu', strict=True)
```
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('folder', type=cli.output_folder, help='folder to write; its name is that of the model')
    parser.add_argument('--license', help="the Hub's identifier of the weights' licence, such as apache-2.0")
    parser.add_argument('--half', action='store_true', help='write the weights in float16: half the size')
    cli.add_cfg_options(parser)
    return parser.parse_args(argv)


def write_hub_folder(
    folder: str | Path,
    config: Config,
    checkpoint: Mapping[str, Any],
    name: str,
    license_name: str | None = None,
    half: bool = False,
) -> None:
    """Write the folder; a file that is there is replaced.

    Args:
        folder: to write.
        config: of the model.
        checkpoint: as :func:`~mmrobust.checkpoint.load_checkpoint_file` gives it.
        name: of the model, the title of its card.
        license_name: the Hub's identifier of the weights' licence, such as ``'apache-2.0'``; None leaves it out.
        half: write numbers with a fraction as float16; every tool computes with them in float32 again.

    Raises:
        ValueError: the weights do not fit the model, or float16 does not hold them.
    """
    folder = Path(folder)
    model = build(config)
    weights = fitting(model, checkpoint, 'The checkpoint')
    if half:
        weights = {key: value.half() if value.is_floating_point() else value for key, value in weights.items()}
        check_finite(model.state_dict(), weights, 'float16')
    meta = {key: value for key, value in checkpoint.get('meta', {}).items() if key in META}
    metadata = {'format': 'pt', 'mmengine_meta': json.dumps(meta, default=_plain)}
    # cloned, because safetensors refuses tensors that share memory
    tensors = {key: value.clone(memory_format=torch.contiguous_format) for key, value in weights.items()}
    front_matter = {
        'library_name': 'mmrobust',
        'pipeline_tag': _TASKS.get(config.get('default_scope') or 'mmseg', 'image-feature-extraction'),
        'tags': ['openmmlab', 'robustness'],
    } | ({'license': license_name} if license_name else {})
    card = _CARD.format(front_matter=yaml.safe_dump(front_matter), name=name, parameters=parameters_of(model) / 1e6)
    write_whole(folder / 'model.safetensors', safetensors.torch.save(tensors, metadata))
    write_whole(folder / 'config.py', config.pretty_text)
    write_whole(folder / 'README.md', card)


def _plain(value: Any) -> Any:
    """An array of NumPy as lists, for JSON."""
    return value.tolist()


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with cli.one_sentence():
        config = cli.load_config(args.config, args.cfg_options)
        checkpoint = load_checkpoint_file(args.checkpoint)
        write_hub_folder(args.folder, config, checkpoint, Path(args.folder).resolve().name, args.license, args.half)
    print(f'{args.folder}: model.safetensors, config.py, README.md')


if __name__ == '__main__':
    sys.exit(main())
