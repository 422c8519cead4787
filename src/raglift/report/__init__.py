"""The report of a run, in each of its forms."""

from raglift.report.summary import print_summary, render_summary
from raglift.report.writing import write_report

__all__ = ["print_summary", "render_summary", "write_report"]
