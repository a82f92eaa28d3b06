"""Images without labels: what is left of a config without them. tests/test_tools.py tests images of a whole run."""

import pytest

from mmrobust.datasets.labels import why_unlabelled, without_labels


def test_labels_and_the_steps_that_load_them_are_left_out_at_any_depth():
    load, resize, pack = dict(type='mmrobust.LoadAnnotations'), dict(type='Resize', scale=(8, 4)), dict(type='Pack')
    prefix = dict(img_path='a', seg_map_path='b')
    given = dict(
        datasets=[dict(data_prefix=prefix, pipeline=[load, resize, dict(type='TTA', transforms=[[load], [pack]])])],
        indices=[],
    )
    assert without_labels(given) == dict(
        datasets=[dict(data_prefix=dict(img_path='a'), pipeline=[resize, dict(type='TTA', transforms=[[pack]])])],
        indices=[],
    )
    assert given['datasets'][0]['pipeline'][0] is load, 'a copy is made'
    assert isinstance(without_labels(resize)['scale'], tuple)


@pytest.mark.parametrize('pipeline', [[], [dict(type='LoadImageFromFile')]])
def test_a_pipeline_that_loads_no_labels(pipeline):
    assert why_unlabelled(dict(type='CityscapesDataset', pipeline=pipeline)) == 'the pipeline has no LoadAnnotations'
