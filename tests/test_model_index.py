"""What OpenMMLab's tools list of this project: every config, with the numbers that the paper prints."""

from pathlib import Path

import pytest
import yaml
from mmengine.config import Config
from modelindex.load_model_index import load

from mmrobust.evaluation.paper_tables import paper_tables

ROOT = Path(__file__).resolve().parents[1]
MEASURES = {
    ('ImageNet-1k', 'Top 1 Accuracy'): 'imagenet',
    ('ImageNet-C', 'mCE'): 'mce',
    ('ImageNet-P', 'mFR'): 'mfr',
    ('ImageNet-A', 'Top 1 Accuracy'): 'imagenet-a',
    ('ImageNet-R', 'Top 1 Accuracy'): 'imagenet-r',
    ('Cityscapes', 'mIoU'): 'cityscapes',
    ('Cityscapes-C', 'mIoU'): 'cityscapes-c',
    ('ACDC', 'mIoU'): 'acdc-test',
}
MODELS = [
    model
    for path in yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
    for model in yaml.safe_load((ROOT / path).read_text())['Models']
]


def test_every_config_is_listed_once():
    listed = [model['Config'] for model in MODELS]
    assert sorted(listed) == sorted(f'configs/{path.name}' for path in (ROOT / 'configs').glob('*.py'))
    assert [model['Name'] for model in MODELS] == [Path(path).stem for path in listed]


def test_the_index_is_valid(capsys):
    index = load(str(ROOT / 'model-index.yml'))
    index.check(silent=False)
    assert capsys.readouterr().out.strip().endswith('All good!')
    assert len(index.models) == len(MODELS)


@pytest.mark.parametrize('model', MODELS, ids=lambda model: model['Name'])
def test_results_are_the_papers(model):
    if 'Weights' in model:  # tests/test_model_zoo/test_shipped_weights.py
        assert [result['Source'] for result in model['Results']] == ['measured, tools/test.py']
        return
    printed = {
        name: row.values for name, table in paper_tables().items() for row in table.rows if model['Name'] in row.configs
    }
    assert ('Results' in model) == bool(printed)
    for result in model.get('Results', []):
        ((metric, value),) = result['Metrics'].items()
        paper, _, table = result['Source'].partition(', Table ')
        assert paper == 'paper'
        assert printed[table][MEASURES[result['Dataset'], metric]] == value


def test_our_configs_are_bases_of_others(tmp_path):
    for name in ('fan_tap_adl_minicity.py', 'zoo/fan_conv5_imagenet.py', '_base_/runtime_seg.py'):
        (tmp_path / 'mine.py').write_text(f"_base_ = 'mmrobust::{name}'\n")
        mine = Config.fromfile(tmp_path / 'mine.py').to_dict()
        assert mine == Config.fromfile(ROOT / 'configs' / name).to_dict()


def test_a_base_that_is_not_there(tmp_path):
    (tmp_path / 'mine.py').write_text("_base_ = 'mmrobust::fan_nowhere.py'\n")
    with pytest.raises(FileNotFoundError, match=r'fan_nowhere\.py'):
        Config.fromfile(tmp_path / 'mine.py')
