"""Looking inside: curves, pictures and the HTML report, from plain arrays and a `FitRecord`."""

from saiki.insight import figures
from saiki.insight.curves import Curve
from saiki.insight.features import (
    EmbeddingMap,
    Excitement,
    Filters,
    embeddings,
    exciting_input,
    filters,
)
from saiki.insight.gates import GateReport, GateUse, LayerUse, TimeConstants, gate_use
from saiki.insight.jacobians import LayerJacobians, RecurrentMatrix, StepJacobians, step_jacobians
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
    "EmbeddingMap",
    "Excitement",
    "Fact",
    "Filters",
    "GateReport",
    "GateUse",
    "GradientReach",
    "HorizonErrors",
    "LayerJacobians",
    "LayerReach",
    "LayerUse",
    "Metric",
    "NetworkRow",
    "Picture",
    "RecurrentMatrix",
    "ReportData",
    "Score",
    "Split",
    "StepJacobians",
    "TimeConstants",
    "Verdict",
    "embeddings",
    "exciting_input",
    "figures",
    "filters",
    "gate_use",
    "gradient_reach",
    "picture",
    "report",
    "step_jacobians",
    "untrained",
]
