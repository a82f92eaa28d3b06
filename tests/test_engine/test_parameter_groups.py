"""Merged parameter groups update as one group per parameter does."""

import pytest
from mmengine.optim import OptimWrapper
from mmengine.optim.optimizer import default_constructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from tiny_run import Net, Record, make_runner
from torch import nn

from mmrobust.engine import MergedOptimWrapperConstructor

SCHEDULERS = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=3),
    dict(type='CosineAnnealingLR', eta_min=1e-4, by_epoch=False, begin=3, end=10),
]


def _wrapper(constructor: str, optimizer: str = 'AdamW') -> dict:
    return dict(
        type='OptimWrapper',
        constructor=constructor,
        optimizer=dict(type=optimizer, lr=0.01, weight_decay=0.05),
        paramwise_cfg=dict(bias_decay_mult=0.0, custom_keys={'body.4': dict(lr_mult=10.0)}),
    )


def _train(work_dir, constructor, **kwargs):
    record = Record()
    runner = make_runner(work_dir, record, param_scheduler=[dict(one) for one in SCHEDULERS], **kwargs)
    runner.optim_wrapper = _wrapper(constructor)
    runner.train()
    return record.losses, runner


@pytest.mark.parametrize('optimizer', ['AdamW', 'SGD'])
def test_groups_of_equal_settings_become_one(monkeypatch, optimizer):
    said = []
    monkeypatch.setattr(default_constructor, 'print_log', lambda text, **_: said.append(text))
    model = nn.ModuleDict({'body': nn.Sequential(*[nn.Linear(3, 3) for _ in range(5)]), 'frozen': nn.Linear(2, 2)})
    model['frozen'].requires_grad_(False)
    config = _wrapper('', optimizer)
    wrapper = MergedOptimWrapperConstructor(
        {key: config[key] for key in ('type', 'optimizer')}, config['paramwise_cfg']
    )(model)
    assert not [text for text in said if 'frozen' in text], 'a line for each frozen parameter'
    names = {parameter: name for name, parameter in model.named_parameters()}
    found = {
        (group['lr'], group['weight_decay']): [names[one] for one in group['params']]
        for group in wrapper.optimizer.param_groups
    }
    assert found == {
        (0.01, 0.05): [f'body.{index}.weight' for index in range(4)],
        (0.01, 0.0): [f'body.{index}.bias' for index in range(4)],
        (0.1, 0.05): ['body.4.weight', 'body.4.bias'],
    }
    assert not any(group.get('fused') for group in wrapper.optimizer.param_groups)  # it would round otherwise on a CPU


def test_trains_bit_by_bit_as_one_group_per_parameter(tmp_path):
    theirs, many = _train(tmp_path / 'many', 'DefaultOptimWrapperConstructor')
    ours, few = _train(tmp_path / 'few', 'mmrobust.MergedOptimWrapperConstructor')
    assert len(many.optim_wrapper.optimizer.param_groups) == 4
    assert len(few.optim_wrapper.optimizer.param_groups) == 3
    assert ours == theirs and len(set(ours.values())) == 10
    assert few.optim_wrapper.get_lr()['base_lr'] == many.optim_wrapper.get_lr()['base_lr']


def test_resumes_bit_by_bit_and_refuses_other_groups(tmp_path):
    whole, _ = _train(tmp_path, 'mmrobust.MergedOptimWrapperConstructor', checkpoint={'max_keep_ckpts': -1})
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_8.pth'))
    resumed, _ = _train(tmp_path, 'mmrobust.MergedOptimWrapperConstructor', resume=True)
    assert resumed == {iteration: whole[iteration] for iteration in (8, 9)}

    _train(tmp_path / 'old', 'DefaultOptimWrapperConstructor')
    with pytest.raises(ValueError, match=r'3 of 4 parameters, got 4 of 4 .*constructor=DefaultOptimWrapperConstructor'):
        _train(tmp_path / 'old', 'mmrobust.MergedOptimWrapperConstructor', resume=True, iters=20)


def test_state_of_another_machine_takes_this_machines_form():
    config = _wrapper('')
    build = MergedOptimWrapperConstructor({key: config[key] for key in ('type', 'optimizer')}, config['paramwise_cfg'])
    here, there = build(Net()), build(Net()).state_dict()
    for group in there['param_groups']:
        group['fused'] = True
    here.load_state_dict(there)
    assert not any(group['fused'] for group in here.optimizer.param_groups)


@pytest.mark.gpu
@pytest.mark.parametrize(('settings', 'fused'), [({}, True), ({'fused': False}, False), ({'foreach': True}, None)])
def test_fused_on_a_gpu(settings, fused):
    constructor = OPTIM_WRAPPER_CONSTRUCTORS.build(
        dict(
            type='mmrobust.MergedOptimWrapperConstructor',
            optim_wrapper_cfg=dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.01, **settings)),
        )
    )
    wrapper = constructor(Net().cuda())
    assert isinstance(wrapper, OptimWrapper)
    assert wrapper.optimizer.param_groups[0]['fused'] == fused
