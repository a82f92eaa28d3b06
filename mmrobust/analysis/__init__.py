"""Statistics of a trained model's attention, computed through ``observe`` without ever holding a whole map."""

from mmrobust.analysis.attention_maps import CoarseMaps, TokenAttention
from mmrobust.analysis.attention_statistics import STATISTICS, AttentionStatistics, Statistic
from mmrobust.analysis.observed_model import preprocess, require_observable
from mmrobust.analysis.rollout import attention_rollout, has_rollout, rollout_statistics
from mmrobust.analysis.tables import DilationTable, Distribution, StatisticsTable, Summary, dilation_shares
from mmrobust.analysis.token_norms import TokenNorms

__all__ = [
    'STATISTICS',
    'AttentionStatistics',
    'CoarseMaps',
    'DilationTable',
    'Distribution',
    'Statistic',
    'StatisticsTable',
    'Summary',
    'TokenAttention',
    'TokenNorms',
    'attention_rollout',
    'dilation_shares',
    'has_rollout',
    'preprocess',
    'require_observable',
    'rollout_statistics',
]
