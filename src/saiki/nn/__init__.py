"""Modules and layer configs that users compose."""

from __future__ import annotations

from saiki.nn.basic import Activation, Dense, Dropout, Embedding, LayerNorm
from saiki.nn.flow import Layer, generators
from saiki.nn.pooling import AttentionPool, Last, Max, Mean, Segment
from saiki.nn.recurrent import GRU, LSTM, RNN, Jordan, Recurrent, RecurrentLayer

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Activation",
    "AttentionPool",
    "Dense",
    "Dropout",
    "Embedding",
    "Jordan",
    "Last",
    "Layer",
    "LayerNorm",
    "Max",
    "Mean",
    "Recurrent",
    "RecurrentLayer",
    "Segment",
    "generators",
]
