"""A run's model and answers for other programs: export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from raglift.cli.options import RUN_DIR, app, show
from raglift.errors import InputError


@app.command()
def export(
    run_dir: RUN_DIR,
    tuning: Annotated[str, typer.Option(help="Whose weights: rag-sft, sft or base.")] = "rag-sft",
    seed: Annotated[int | None, typer.Option(min=0, help="The training seed [default: the run's first].")] = None,
    to: Annotated[Path | None, typer.Option(metavar="DIR", help="[default: export/ in the run folder]")] = None,
    push: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="Also to the Hugging Face Hub, privately.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="With --push: for everyone to see.")] = False,
    inspect: Annotated[bool, typer.Option("--inspect", help="Inspect logs of the graded answers instead.")] = False,
) -> None:
    """Write a trained model as plain files: merged weights, tokenizer, adapter, card, the way to GGUF.

    Examples:

      raglift export runs/ml-qa-ko

      raglift export runs/ml-qa-ko --tuning sft --to my-model --push me/my-model

      raglift export runs/ml-qa-ko --inspect --to logs
    """
    if public and push is None:
        raise InputError("--public", "no --push", "--push OWNER/NAME --public")
    if inspect and push is not None:
        raise InputError("--push", "--inspect", "one of them: logs are not pushed")
    from raglift.experiment import reopen_run

    opened = reopen_run(run_dir, stage="compare" if inspect else "answer")
    if inspect:
        from raglift.answers import read_answers
        from raglift.export.logs import write_logs
        from raglift.grading.grades import read_grades

        grades = read_grades(opened.folder.grades(opened.config.grader))
        folder = to or opened.folder.path / "export" / "inspect"
        answers = read_answers(opened.folder, opened.list_keys())
        files = write_logs(folder, opened.experiment, opened.config, answers, grades)
        show(f"logs: {len(files)} in {folder}; next: inspect view --log-dir {folder}")
        return
    from raglift.export.weights import export_weights, push_folder, require_token
    from raglift.records import TUNINGS

    if tuning not in TUNINGS:
        raise InputError(f"--tuning {tuning}", "no such tuning", " or ".join(TUNINGS))
    if opened.config.is_remote:
        raise InputError(f"model '{opened.config.model}'", "it answers on a server", "a model whose weights are here")
    token = require_token(push) if push is not None else ""
    seed = opened.config.seed if seed is None else seed
    written = export_weights(opened.models, tuning, seed, to)
    if push is not None:
        show(f"pushed: {push_folder(written, push, token, private=not public)}")
    show(f"model: {written}")
