"""Looking inside: curves, pictures and the HTML report, from plain arrays and a `FitRecord`."""

from saiki.insight import figures
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
    "Fact",
    "HorizonErrors",
    "Metric",
    "NetworkRow",
    "Picture",
    "ReportData",
    "Score",
    "Split",
    "Verdict",
    "figures",
    "picture",
    "report",
]
