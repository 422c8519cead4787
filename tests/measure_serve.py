"""Measure a running server: one client, then many at once; every reply checked. Run by hand, not by pytest.

raglift serve runs/ml-qa-ko --rate 0 &
python tests/measure_serve.py http://127.0.0.1:8000 --clients 50 --seconds 60
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import openai
import psutil


@dataclass
class Load:
    """What came back; `wrong` are lost, crossed or failed replies."""

    seconds: list[float] = field(default_factory=list)
    tokens: int = 0
    wrong: list[str] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)


async def ask_until(client: openai.AsyncOpenAI, about: dict[str, Any], number: int, end: float, load: Load) -> None:
    """Ask question after question; each reply must name the arm asked and the passage its question alone finds."""
    turn = 0
    while time.monotonic() < end:
        question, passages = about["questions"][(number + turn) % len(about["questions"])]
        question += f" ({number})" if about["distinct"] else ""
        started = time.monotonic()
        try:
            messages: Any = [{"role": "user", "content": question}]
            reply: Any = await client.chat.completions.create(model=about["arm"], messages=messages, max_tokens=64)
        except openai.OpenAIError as error:
            load.wrong.append(repr(error))
            continue
        load.seconds.append(time.monotonic() - started)
        load.tokens += reply.usage.completion_tokens
        found = [source["passage_id"] for source in reply.metadata["sources"]]
        if found != passages or reply.id in load.ids or not reply.choices[0].message.content:
            load.wrong.append(f"{question}: {found}, expected {passages}")
        load.ids.add(reply.id)
        turn += 1


async def find_passages(client: openai.AsyncOpenAI, arm: str, question: str) -> list[str]:
    messages: Any = [{"role": "user", "content": question}]
    reply: Any = await client.chat.completions.create(model=arm, messages=messages, max_tokens=1)
    return [source["passage_id"] for source in reply.metadata["sources"]]


async def measure(options: argparse.Namespace, clients: int, seconds: float) -> dict[str, Any]:
    """Replies a second, p50 and p95 in seconds; with the server's process its processor time a reply."""
    client = openai.AsyncOpenAI(base_url=f"{options.address}/v1", api_key="none", max_retries=0, timeout=300)
    known: Any = await client.models.list()
    about = {**known.metadata, "distinct": options.distinct}
    server = psutil.Process(options.process) if options.process else None
    about["questions"] = [(q, await find_passages(client, about["arm"], q)) for q in about["questions"]]
    load, started = Load(), time.monotonic()
    used = sum(server.cpu_times()[:2]) if server else 0.0
    await asyncio.gather(*(ask_until(client, about, n, started + seconds, load) for n in range(clients)))
    elapsed = time.monotonic() - started
    spent = sum(server.cpu_times()[:2]) - used if server else float("nan")
    return {
        "clients": clients,
        "seconds": round(elapsed, 1),
        "replies": len(load.seconds),
        "replies_per_second": round(len(load.seconds) / elapsed, 3),
        "tokens_per_second": round(load.tokens / elapsed, 1),
        "p50": round(float(np.percentile(load.seconds, 50)), 2),
        "p95": round(float(np.percentile(load.seconds, 95)), 2),
        "processor_seconds_per_reply": round(spent / len(load.seconds), 2),
        "wrong": len(load.wrong),
        "first_wrong": load.wrong[:1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--process", type=int, help="the server's process, to count its processor time")
    parser.add_argument("--distinct", action="store_true", help="a question of its own for each client")
    options = parser.parse_args()
    alone = asyncio.run(measure(options, 1, options.seconds / 2))
    together = asyncio.run(measure(options, options.clients, options.seconds))
    gain = together["replies_per_second"] / alone["replies_per_second"]
    print(json.dumps({"alone": alone, "together": together, "gain": round(gain, 2)}, indent=2))


if __name__ == "__main__":
    main()
