"""A run's model in use: ask and serve."""

from __future__ import annotations

from typing import Annotated

import typer

from raglift.cli.options import AS_JSON, RUN_DIR, app, print_json
from raglift.errors import InputError


@app.command()
def ask(
    run_dir: RUN_DIR,
    question: Annotated[str | None, typer.Argument(help="The question; without one, a conversation begins.")] = None,
    arm: Annotated[str | None, typer.Option(help="The arm to ask [default: the headline's second].")] = None,
    compare: Annotated[bool, typer.Option("--compare", help="A second arm beside it.")] = False,
    k: Annotated[int | None, typer.Option("-k", min=1, help="Passages a question.")] = None,
    as_json: AS_JSON = False,
) -> None:
    """Ask a run's model a question of your own; its passages are searched as in the run.

    Examples:

      raglift ask runs/ml-qa-ko "재현율이 뭐야?" --compare

      raglift ask runs/ml-qa-ko --arm sft.none
    """
    from raglift.ask import Asker
    from raglift.dialogue import Dialogue, answer_as_json, answer_in_terminal, hold_conversation, prepare_conversation
    from raglift.experiment import reopen_run

    if question is None and as_json:
        raise InputError("ask --json", "no question", 'raglift ask RUN_DIR "a question" --json')
    opened = reopen_run(run_dir, stage="answer")
    asker = Asker(opened.experiment, opened.config, opened.contexts, opened.models)
    dialogue = Dialogue(asker, asker.choose_arm(arm), compare, k)
    if question is None:
        prepare_conversation(dialogue)
        hold_conversation(dialogue)
    elif as_json:
        print_json(answer_as_json(dialogue, question))
    else:
        answer_in_terminal(dialogue, question)


@app.command()
def serve(
    run_dir: RUN_DIR,
    host: Annotated[
        str, typer.Option(help="The address to listen on; others than this machine need a key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    api_key_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="The environment variable that holds the API key.")
    ] = None,
    rate: Annotated[int, typer.Option(min=0, help="Requests a minute for each client, 0: no limit.")] = 1200,
    queue: Annotated[int, typer.Option(min=1, help="Answers that may wait; beyond, requests get status 429.")] = 256,
) -> None:
    """Serve a run's arms to OpenAI clients, with a web page to chat on.

    Example: raglift serve runs/ml-qa-ko
    """
    from raglift.ask import Asker
    from raglift.experiment import reopen_run
    from raglift.serve.server import ServerOptions, serve_run

    options = ServerOptions(host, port, api_key_env, rate, queue)
    opened = reopen_run(run_dir, stage="answer")
    try:
        serve_run(Asker(opened.experiment, opened.config, opened.contexts, opened.models), opened.folder, options)
    finally:
        opened.folder.put()  # verdicts of those who chatted
