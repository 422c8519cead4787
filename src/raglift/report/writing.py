"""Write every form of the report into the run folder."""

from __future__ import annotations

from pathlib import Path

from raglift.config import Config
from raglift.records import TUNINGS, Experiment
from raglift.report.card import write_card
from raglift.report.content import gather_content
from raglift.report.founding import write_table
from raglift.report.html import write_html
from raglift.report.log import write_log
from raglift.report.markdown import write_markdown
from raglift.runfolder import RunFolder, write_atomically, write_json


def write_report(folder: RunFolder, experiment: Experiment, config: Config) -> list[Path]:
    """Write report.md, report.html, report.json, table.csv, answers.log and a card for each adapter.

    Needs comparison.json; raises InputError without it, RunError for damaged files or a full disk. The same
    run folder gives the same bytes again.
    """
    content = gather_content(folder, experiment, config)
    texts = {
        folder.report("md"): write_markdown(content),
        folder.report("html"): write_html(content),
        folder.table: write_table(content.comparison),
        folder.log: write_log(content),
    }
    for tuning in TUNINGS:
        for seed in config.list_seeds():
            adapter = folder.adapter(tuning, seed)
            if adapter.is_dir():
                texts[adapter / "README.md"] = write_card(content, tuning, seed)
    for file, text in texts.items():
        write_atomically(file, text)
    write_json(folder.report("json"), content.as_dict())
    return [*texts, folder.report("json")]
