"""Segmentors that train with a loss on attention."""

from mmrobust.models.segmentors.robust_encoder_decoder import RobustEncoderDecoder

__all__ = ['RobustEncoderDecoder']
