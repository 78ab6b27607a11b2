"""Looking inside: curves, pictures and the HTML report, from plain arrays and a `FitRecord`."""

from saiki.insight import figures
from saiki.insight.curves import Curve
from saiki.insight.reach import GradientReach, LayerReach, gradient_reach, untrained
from saiki.insight.report import (
    Comparison,
    Fact,
    HorizonErrors,
    Metric,
    NetworkRow,
    Picture,
    ReportData,
    Score,
    Split,
    Verdict,
    picture,
    report,
)

__all__ = [
    "Comparison",
    "Curve",
    "Fact",
    "GradientReach",
    "HorizonErrors",
    "LayerReach",
    "Metric",
    "NetworkRow",
    "Picture",
    "ReportData",
    "Score",
    "Split",
    "Verdict",
    "figures",
    "gradient_reach",
    "picture",
    "report",
    "untrained",
]
