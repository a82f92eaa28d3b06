"""Skipped images are counted, and their files named."""

from mmengine.structures import BaseDataElement

from mmrobust.engine import CountSubstitutesHook


class FakeRunner:
    iter = 4

    def __init__(self) -> None:
        self.lines = []
        self.logger = self

    def warning(self, line: str) -> None:
        self.lines.append(line)


def samples(*problems: str | None) -> dict:
    return {'data_samples': [BaseDataElement(metainfo={'substitute_for': p} if p else {}) for p in problems]}


def test_count_and_names():
    hook, runner = CountSubstitutesHook(), FakeRunner()
    hook.before_train(runner)
    for batch in (samples(None, 'b.png is broken.'), samples('a.png is broken.', 'b.png is broken.'), [1, 2]):
        hook.after_train_iter(runner, 0, batch)
    runner.iter = 7
    hook.after_train(runner)
    assert runner.lines == [
        '3 samples of the iterations 5 to 7 were replaced, because of 2 broken files: a.png is broken. b.png is broken.'
    ]


def test_silence_without_any():
    hook, runner = CountSubstitutesHook(), FakeRunner()
    hook.before_train(runner)
    hook.after_train_iter(runner, 0, samples(None))
    hook.after_train(runner)
    assert runner.lines == []
