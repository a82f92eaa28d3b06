"""One run: train one arm with one seed, then measure errors and attention on held-out images."""

import logging
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from torch import Tensor, nn

from experiment.arms import BASELINE, model_of
from experiment.images import Images
from mmrobust.analysis import AttentionStatistics
from mmrobust.engine import gradient_norm
from mmrobust.evaluation.statistics import confusion_matrix, mean_iou
from mmrobust.models.layers import AttentionView
from mmrobust.ops import attention_diversification, kept_rows
from mmrobust.randomness import seeded

STATISTICS = ('top_share', 'effective_tokens', 'self_share', 'head_similarity_map', 'stability_map')
TAU = 2.0  # of what is measured, whatever an arm trains with
GRADIENT_INTERVAL = 50  # iterations between two looks at the gradient's share of ADL


@dataclass(frozen=True)
class HeldOut:
    """Images that no arm trains on, and the same ones corrupted, by (corruption, severity)."""

    clean: Images
    corrupted: dict[tuple[str, int], np.ndarray]


def run(profile: dict[str, Any], arm: str, seed: int, images: Images, held_out: HeldOut, device: str) -> dict[str, Any]:
    """Train and measure; errors are in percent."""
    start, start_cpu = time.monotonic(), time.process_time()
    task = Task(build(profile['model'], arm, seed), device)
    log = train(task, images, seed, profile['recipe'])
    trained = time.monotonic()
    targets, batch_size = held_out.clean.targets, profile['recipe']['batch_size']
    errors = {f'{name}/{severity}': task.error(pixels, targets, batch_size)
              for (name, severity), pixels in held_out.corrupted.items()}  # fmt: skip
    part = slice(profile['attention_images'])
    noisy = held_out.corrupted[('gaussian_noise', min(profile['severities'], key=lambda severity: abs(severity - 3)))]
    return dict(
        clean_error=task.error(held_out.clean.pixels, targets, batch_size),
        corrupted_errors=errors,
        mean_corrupted_error=float(np.mean(list(errors.values()))),
        attention=attention(task, held_out.clean.pixels[part], noisy[part], batch_size),
        log=log,
        seconds=dict(train=trained - start, measure=time.monotonic() - trained, cpu=time.process_time() - start_cpu),
    )


class Task:
    """A model of MMPretrain or MMSegmentation, fed from arrays."""

    def __init__(self, model: nn.Module, device: str) -> None:
        self.model, self.device = model.to(device), device
        self.segments = hasattr(model, 'decode_head')

    def batch(self, pixels: np.ndarray, targets: np.ndarray | None, training: bool) -> dict[str, Any]:
        """Model input for ``(B, H, W, 3)`` RGB uint8 and their targets."""
        if self.segments:
            from mmseg.structures import SegDataSample as Sample
        else:
            from mmpretrain.structures import DataSample as Sample
        images = torch.from_numpy(np.ascontiguousarray(pixels[..., ::-1].transpose(0, 3, 1, 2)))  # BGR, as mmcv reads
        samples = []
        for index in range(len(pixels)):
            sample = Sample(metainfo=dict(img_shape=pixels.shape[1:3], ori_shape=pixels.shape[1:3]))
            if targets is not None and self.segments:
                labels = torch.from_numpy(np.ascontiguousarray(targets[index][None]).astype(np.int64))
                sample.gt_sem_seg = PixelData(data=labels)
            elif targets is not None:
                sample.set_gt_label(int(targets[index]))
            samples.append(sample)
        return self.model.data_preprocessor(dict(inputs=list(images), data_samples=samples), training)

    @torch.no_grad()
    def error(self, pixels: np.ndarray, targets: np.ndarray, batch_size: int) -> float:
        """Top-1 error, or 100 - mIoU, in percent."""
        self.model.eval()
        wrong, confusion = 0, 0
        for start in range(0, len(pixels), batch_size):
            part = slice(start, start + batch_size)
            batch = self.batch(pixels[part], None, False)
            if self.segments:
                found = self.model.predict(batch['inputs'], batch['data_samples'])
                for label, one in zip(targets[part], found, strict=True):
                    predicted = one.pred_sem_seg.data[0].cpu().numpy()
                    confusion = confusion + confusion_matrix(label, predicted, self.model.num_classes)
            else:
                scores = self.model.head(self.model.extract_feat(batch['inputs']))
                wrong += int((scores.argmax(-1).cpu().numpy() != targets[part]).sum())
        return 100 - mean_iou(confusion) if self.segments else 100 * wrong / len(targets)


def build(model: dict, arm: str, seed: int) -> nn.Module:
    """The model of an arm; all that it has in common with the baseline of this seed starts with its weights."""
    segments = 'decode_head' in model
    init_default_scope('mmseg' if segments else 'mmpretrain')
    if segments:
        from mmseg.registry import MODELS
    else:
        from mmpretrain.registry import MODELS

    MMLogger.get_current_instance().setLevel(logging.ERROR)  # it lists every tensor that it initialises

    def initialised(name: str) -> nn.Module:
        with seeded(seed):
            built = MODELS.build(ConfigDict(model_of(model, name)))
            built.init_weights()
        return built

    built, baseline = initialised(arm), initialised(BASELINE)
    built.load_state_dict({**built.state_dict(), **baseline.state_dict()})
    return built


def train(task: Task, images: Images, seed: int, recipe: dict[str, Any]) -> list[dict[str, float]]:
    """Train; what is drawn depends on seed and iteration alone, so all arms see the same images in the same order."""
    model, iters = task.model, recipe['iters']
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    groups = [dict(params=decayed), dict(params=others, weight_decay=0.0)]
    optimizer = torch.optim.AdamW(groups, lr=recipe['lr'], weight_decay=recipe['weight_decay'])
    warmup = max(1, iters // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / warmup, 0.5 * (1 + np.cos(np.pi * min(1, step / iters)))),
    )
    rng = np.random.default_rng([seed, 2])
    order, log = np.empty(0, int), []
    torch.manual_seed(seed)  # dropout, if there is any
    for step in range(iters):
        while len(order) < recipe['batch_size']:
            order = np.concatenate((order, rng.permutation(len(images.targets))))
        chosen, order = order[: recipe['batch_size']], order[recipe['batch_size'] :]
        flipped = rng.random(len(chosen)) < 0.5
        pixels, targets = images.pixels[chosen], images.targets[chosen]
        pixels[flipped] = pixels[flipped, :, ::-1]
        if task.segments:
            targets[flipped] = targets[flipped, :, ::-1]
        model.train()
        batch = task.batch(pixels, targets, True)
        with torch.autocast('cuda', torch.bfloat16, enabled=task.device.startswith('cuda')):
            losses = model(**batch, mode='loss')
            loss, _ = model.parse_losses(losses)
        if step % GRADIENT_INTERVAL == 0 or step == iters - 1:
            log.append(dict(step=step, **_shares(model, losses)))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe['clip'])
        optimizer.step()
        schedule.step()
    return log


def _shares(model: nn.Module, losses: dict[str, Tensor]) -> dict[str, float]:
    """Losses, and the ratio of the norms of their gradients: that of ADL to all others together."""
    values = {name: float(value.detach()) for name, value in losses.items() if 'loss' in name}
    if 'loss_adl' not in losses:
        return values
    parameters = [p for p in model.parameters() if p.requires_grad]
    of_task = sum(value for name, value in losses.items() if 'loss' in name and name != 'loss_adl')
    values['gradient_ratio'] = float(gradient_norm(losses['loss_adl'], parameters) / gradient_norm(of_task, parameters))
    return values


@torch.no_grad()
def attention(task: Task, clean: np.ndarray, corrupt: np.ndarray, batch_size: int) -> list[dict[str, float]]:
    """Statistics of each layer, means over images and heads; of clean images, stability of clean and corrupted ones."""
    task.model.eval()
    statistics = AttentionStatistics(paired=True)

    def look(view: AttentionView) -> dict[str, float]:
        found = statistics(view)
        images = view.attention.query.size(0) // 2
        of_clean = view.attention._replace(query=view.attention.query[:images], key=view.attention.key[:images])
        kept = kept_rows(of_clean, tau=TAU)
        values = {name: found[name][:images].mean() for name in STATISTICS if name in found}
        values['adl'] = attention_diversification(of_clean, tau=TAU)
        values |= dict(active_rows=kept.active, single_rows=kept.single)
        return {name: value.item() for name, value in values.items()}

    batches = []
    for start in range(0, len(clean), batch_size):
        part = slice(start, start + batch_size)
        inputs = task.batch(np.concatenate((clean[part], corrupt[part])), None, False)['inputs']
        batches.append((len(clean[part]), task.model.backbone(inputs, look)[1]))
    weights = [images for images, _ in batches]
    return [
        {name: float(np.average([one[name] for one in layer], weights=weights)) for name in layer[0]}
        for layer in zip(*(layers for _, layers in batches), strict=True)
    ]
