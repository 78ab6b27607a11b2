"""Looking inside: curves, pictures and the HTML report, from plain arrays and a `FitRecord`."""

from saiki.insight import figures, figures_features, figures_gates, figures_reach
from saiki.insight.curves import Curve
from saiki.insight.doctor import Diagnosis, examine
from saiki.insight.features import (
    EmbeddingMap,
    Excitement,
    Filters,
    embeddings,
    exciting_input,
    filters,
)
from saiki.insight.findings import Finding
from saiki.insight.gates import GateReport, GateUse, LayerUse, TimeConstants, gate_use
from saiki.insight.health import TrainingHealth, loss_spikes, training_health
from saiki.insight.jacobians import LayerJacobians, RecurrentMatrix, StepJacobians, step_jacobians
from saiki.insight.reach import GradientReach, LayerReach, gradient_reach, untrained
from saiki.insight.report import (
    Comparison,
    Fact,
    HorizonErrors,
    Inside,
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
    "Diagnosis",
    "EmbeddingMap",
    "Excitement",
    "Fact",
    "Filters",
    "Finding",
    "GateReport",
    "GateUse",
    "GradientReach",
    "HorizonErrors",
    "Inside",
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
    "TrainingHealth",
    "Verdict",
    "embeddings",
    "examine",
    "exciting_input",
    "figures",
    "figures_features",
    "figures_gates",
    "figures_reach",
    "filters",
    "gate_use",
    "gradient_reach",
    "loss_spikes",
    "picture",
    "report",
    "step_jacobians",
    "training_health",
    "untrained",
]
