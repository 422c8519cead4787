"""A trained model as plain files: merged weights, its adapter, a card, the way to llama.cpp; to the Hub when asked."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

from raglift.config import Config
from raglift.errors import InputError, RunError
from raglift.lock import make_folder
from raglift.models.adapters import merge_adapter
from raglift.progress import say
from raglift.runfolder import RunFolder, explain_disk_errors, hash_file, write_json
from raglift.shelf.interface import ModelShelf

NOTE = "export.json"  # marks a folder as an export, which a later export may replace
REPOSITORY = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")
GGUF = """\
From these files to a GGUF for llama.cpp, Ollama and LM Studio, in this folder:

  git clone --depth 1 https://github.com/ggml-org/llama.cpp
  pip install -r llama.cpp/requirements/requirements-convert_hf_to_gguf.txt
  python llama.cpp/convert_hf_to_gguf.py . --outfile {name}-bf16.gguf --outtype bf16
  cmake -S llama.cpp -B llama.cpp/build -DCMAKE_BUILD_TYPE=Release
  cmake --build llama.cpp/build --config Release -j --target llama-quantize llama-server
  llama.cpp/build/bin/llama-quantize {name}-bf16.gguf {name}-Q4_K_M.gguf Q4_K_M
  llama.cpp/build/bin/llama-server -m {name}-Q4_K_M.gguf --port 8080

The model was trained on prompts of the template '{template}'. Asked with another one (a chat template that the server
adds, say) it answers worse than it was measured. To ask it as it was trained, through raglift:

  model: openai:{name}@http://localhost:8080/v1
  remote: {{api: completions}}
"""


def export_weights(shelf: ModelShelf, tuning: str, seed: int, to: Path | None) -> Path:
    """Write the model of (tuning, seed) with tokenizer, adapter, card and GGUF.txt into a folder, whole or not at all.

    `AutoModelForCausalLM.from_pretrained` loads it. Returns the folder (default `export/<tuning>-seed<N>` of the run).
    Raises InputError for a tuning that was not trained and for a folder that holds something else.
    """
    folder, config = shelf.folder, shelf.config
    identity = shelf.identify(tuning, seed)  # says so where it was not trained
    name = f"{config.name}-{tuning}-seed{seed}"
    target = to or folder.path / "export" / f"{tuning}-seed{seed}"
    check_target(target)
    with explain_disk_errors(target), make_folder(target) as made:
        _write_model(shelf, tuning, seed, made)
        (made / "GGUF.txt").write_text(GGUF.format(name=name, template=config.prompt.template), encoding="utf-8")
        (made / "README.md").write_text(write_card(folder, config, tuning, seed), encoding="utf-8")
        files = {str(file.relative_to(made)): hash_file(file) for file in sorted(made.rglob("*")) if file.is_file()}
        write_json(made / NOTE, {"name": name, "model": shelf.config.model, "identity": identity, "files": files})
        made.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        made.rename(target)
    return target


def check_target(target: Path) -> None:
    """InputError for a place that holds something that no export wrote."""
    if target.exists() and not (target / NOTE).is_file() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"--to {target}", "a file, or a folder that holds other things", "a new or an empty folder")


def write_card(folder: RunFolder, config: Config, tuning: str, seed: int) -> str:
    """The adapter's card (of a reported run) as one of a whole model."""
    from huggingface_hub import ModelCard, ModelCardData  # heavy

    name = f"{config.name}-{tuning}-seed{seed}"
    usage = (
        "```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f'model = AutoModelForCausalLM.from_pretrained("path/to/{name}")\n'
        f'tokenizer = AutoTokenizer.from_pretrained("path/to/{name}")\n```\n'
    )
    file = folder.adapter(tuning, seed) / "README.md"
    if not file.exists():
        data = ModelCardData(library_name="transformers", pipeline_tag="text-generation", tags=["raglift", tuning])
        return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n# {name}\n\n{usage}"))
    card: Any = ModelCard.load(file)
    card.data.library_name = "transformers"
    card.data.base_model_relation = "finetune"
    card.text = re.sub(r"```python\n.*?```\n?", lambda match: usage, card.text, flags=re.DOTALL)
    return str(card)


def require_token(repository: str) -> str:
    """The Hub's token; InputError without one or for a name that is none, before anything is computed."""
    import huggingface_hub

    if not REPOSITORY.match(repository):
        raise InputError(f"--push {repository}", "no name of a repository", "owner/name")
    token = huggingface_hub.get_token()
    if not token:
        raise InputError(
            f"--push {repository}", "no token for the Hugging Face Hub", "a token that may write",
            "hf auth login, or the environment variable HF_TOKEN",
        )  # fmt: skip
    return str(token)


def push_folder(folder: Path, repository: str, token: str, *, private: bool = True) -> str:
    """Upload an export; the repository is made where there is none. Returns its address; RunError where it fails."""
    import httpx2
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    api = huggingface_hub.HfApi(token=token)
    try:
        say(f"push {folder} to {repository}")
        url = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(folder_path=folder, repo_id=repository, commit_message="Model exported by raglift")
    except (HfHubHTTPError, OfflineModeIsEnabled, httpx2.HTTPError, OSError) as error:
        reason = str(error).replace(token, "***").strip().splitlines()[0][:200]
        raise RunError(
            f"{repository}: cannot be pushed to {huggingface_hub.constants.ENDPOINT} ({reason})\n"
            f"  to do: mend that and give the same command again; {folder} is whole"
        ) from None
    return str(url)


def _write_model(shelf: ModelShelf, tuning: str, seed: int, made: Path) -> None:
    loaded = shelf.base
    if tuning != "base":
        adapter = shelf.folder.adapter(tuning, seed)
        shutil.copytree(adapter, made / "adapter")
        loaded = merge_adapter(loaded, adapter)
    loaded.model.save_pretrained(made)
    loaded.tokenizer.save_pretrained(made)
    for file in made.rglob("*"):
        os.chmod(file, 0o755 if file.is_dir() else 0o644)
