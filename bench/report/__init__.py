"""Reports: their values, a table for terminals, CSV, one HTML page with plots, a conclusion.

`sheet` is for figures that are no latencies.
"""

from samedge.bench.report.table import render
from samedge.bench.report.values import Layer, Mode, Report, Row
from samedge.bench.report.writing import check_targets, write

__all__ = ["Layer", "Mode", "Report", "Row", "check_targets", "render", "write"]
