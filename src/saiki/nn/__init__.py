"""Modules and layer configs that users compose."""

from __future__ import annotations

from saiki.nn.attention import Attention
from saiki.nn.basic import Activation, Dense, Dropout, Embedding, LayerNorm
from saiki.nn.configs import (
    LAYERS,
    ActivationConfig,
    AttentionPoolConfig,
    CellConfig,
    ConvolutionConfig,
    DenseConfig,
    DropoutConfig,
    ElementwiseLSTMConfig,
    EmbeddingConfig,
    GRUConfig,
    JordanConfig,
    LastConfig,
    LayerConfig,
    LayerNormConfig,
    LSTMConfig,
    MaxConfig,
    MeanConfig,
    RecurrentConfig,
    RNNConfig,
    SegmentConfig,
    config_of,
)
from saiki.nn.convolution import Convolution
from saiki.nn.crf import CRF
from saiki.nn.elementwise import ElementwiseLSTM
from saiki.nn.encoder_decoder import EncoderDecoder, EncoderDecoderConfig, EncoderDecoderInput
from saiki.nn.flow import Flow, Layer, generators
from saiki.nn.one_hot import OneHot
from saiki.nn.pooling import AttentionPool, Last, Max, Mean, Segment
from saiki.nn.recurrent import GRU, LSTM, RNN, Jordan, Recurrent, RecurrentLayer
from saiki.nn.softmax import AdaptiveSoftmax, FullSoftmax, SampledSoftmax
from saiki.nn.stack import Stack, StackState
from saiki.nn.summary import Summary, SummaryRow
from saiki.nn.tables import layer_from_mapping, layer_to_mapping

__all__ = [
    "CRF",
    "GRU",
    "LAYERS",
    "LSTM",
    "RNN",
    "Activation",
    "ActivationConfig",
    "AdaptiveSoftmax",
    "Attention",
    "AttentionPool",
    "AttentionPoolConfig",
    "CellConfig",
    "Convolution",
    "ConvolutionConfig",
    "Dense",
    "DenseConfig",
    "Dropout",
    "DropoutConfig",
    "ElementwiseLSTM",
    "ElementwiseLSTMConfig",
    "Embedding",
    "EmbeddingConfig",
    "EncoderDecoder",
    "EncoderDecoderConfig",
    "EncoderDecoderInput",
    "Flow",
    "FullSoftmax",
    "GRUConfig",
    "Jordan",
    "JordanConfig",
    "LSTMConfig",
    "Last",
    "LastConfig",
    "Layer",
    "LayerConfig",
    "LayerNorm",
    "LayerNormConfig",
    "Max",
    "MaxConfig",
    "Mean",
    "MeanConfig",
    "OneHot",
    "RNNConfig",
    "Recurrent",
    "RecurrentConfig",
    "RecurrentLayer",
    "SampledSoftmax",
    "Segment",
    "SegmentConfig",
    "Stack",
    "StackState",
    "Summary",
    "SummaryRow",
    "config_of",
    "generators",
    "layer_from_mapping",
    "layer_to_mapping",
]
