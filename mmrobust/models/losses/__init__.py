"""Losses on attention."""

from mmrobust.models.losses.attention_diversification_loss import AttentionDiversificationLoss

__all__ = ['AttentionDiversificationLoss']
