"""Verdicts that people give on replies: rows of `grades.human.jsonl` as the review writes them.

What was asked and replied goes to `feedback.jsonl`, under the same key.
"""

from __future__ import annotations

from collections import OrderedDict

from raglift.ask import Reply
from raglift.datasets import normalize_question
from raglift.grading.review_log import ReviewLog, build_rows
from raglift.records import Experiment, Verdict
from raglift.runfolder import RunFolder, append_lines
from raglift.serve.failures import ApiError

REVIEWER = "chat"  # under whose name these verdicts stand
REMEMBERED = 10_000  # replies that can be judged


class FeedbackBook:
    """Remembers what was replied, so that a verdict names a reply that this server gave, and writes verdicts."""

    def __init__(self, folder: RunFolder, experiment: Experiment) -> None:
        self.folder = folder
        self.question_ids = {normalize_question(item.question): item.id for item in experiment.questions}
        self.replies: OrderedDict[str, Reply] = OrderedDict()

    def remember(self, reply: Reply) -> None:
        """Keep a reply until many others have come."""
        self.replies.pop(reply.key, None)
        self.replies[reply.key] = reply
        if len(self.replies) > REMEMBERED:
            self.replies.popitem(last=False)

    def record(self, key: str, verdict: Verdict) -> None:
        """Append a verdict; of several for one key the last counts. ApiError 404 for a reply nobody knows."""
        reply = self.replies.get(key)
        if reply is None:
            raise ApiError(404, "no such reply since this server started", "unknown_reply", "key")
        question = reply.prompted.question
        known = self.question_ids.get(normalize_question(question), "")
        told = {
            "key": key,
            "question": question,
            "arm": str(reply.prompted.arm),
            "context": reply.prompted.context,
            "text": reply.text,
            "passages": [source.passage_id for source in reply.prompted.sources],
        }
        append_lines(self.folder.path / "feedback.jsonl", [told])
        rows = build_rows([key], known, REVIEWER, "grade", verdict, "feedback in the chat")
        ReviewLog(self.folder.grades("human")).append(rows)
