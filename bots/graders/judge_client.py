"""Queries a judge over HTTP: bounded in time, cached, counted. Safe to use from many threads."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future
from typing import Any
from urllib.parse import urlsplit

_DECISION = re.compile(r"^\W*final decision\W*\b(yes|no)\b\W*$", re.IGNORECASE)
_MOST_BYTES = 1 << 22  # of a reply
_BACKOFF_SECONDS = 0.5
_BUSY = {408, 409, 425, 429}
_REFUSED = {400, 413, 422}


class JudgeError(RuntimeError):
    """The judge could not be asked, or did not finish: nothing is known about the answer."""


class _TryAgainError(JudgeError):
    """A failure that may be temporary."""


class _RefusedError(JudgeError):
    """The server does not take this request: too long for its model, or its settings are wrong."""


class JudgeClient:
    """Asks one model on one server whether two answers are the same.

    url: of the API, for example http://127.0.0.1:8000/v1. rubric: the prompt, with `{question}`, `{reference}`,
    `{answer}` and optionally `{mark}` in it. timeout_s: for one attempt, from connecting to the last byte.
    remembered: number of verdicts kept; the least recently used one is dropped. body: merged over the request.

    Raises ValueError for an invalid URL.
    """

    def __init__(
        self,
        url: str,
        model: str,
        rubric: str,
        *,
        key: str | None = None,
        timeout_s: float = 60.0,
        attempts: int = 3,
        remembered: int = 65_536,
        body: dict[str, Any] | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"the judge's URL must be http://HOST… or https://HOST…, not {url!r}")
        self._kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._host, self._port = parts.hostname, parts.port
        self._path = parts.path.rstrip("/").removesuffix("/chat/completions") + "/chat/completions"
        self._headers = {"Content-Type": "application/json"} | (
            {"Authorization": f"Bearer {key}"} if key else {}
        )
        self._rubric = rubric
        self._body = {"model": model, "temperature": 0.0, "max_tokens": 2048, **(body or {})}
        self._timeout_s, self._attempts, self._remembered = timeout_s, attempts, remembered
        self._verdicts: OrderedDict[bytes, Future[bool | None]] = OrderedDict()
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(("asked", "cached", "retries", "failures", "undecided"), 0)

    def counts(self) -> dict[str, float]:
        """judge_asked: questions sent. judge_cached: answered from memory. judge_retries: repeated attempts.
        judge_failures: questions without a reply. judge_undecided: replies without a decision, and
        answers that are too long for the judge.
        """
        with self._lock:
            return {f"judge_{name}": float(count) for name, count in self._counts.items()}

    def ask(self, question: str, reference: str, answer: str) -> bool | None:
        """Whether the answer matches the reference; None if the judge replied without deciding.

        A repeated question is sent only once, even while its reply is pending. Raises JudgeError, which is not cached.
        """
        digest = hashlib.sha256(json.dumps([question, reference, answer]).encode()).digest()
        with self._lock:
            known = self._verdicts.get(digest)
            if known is not None:
                self._verdicts.move_to_end(digest)
                self._counts["cached"] += 1
            else:
                mine = self._verdicts[digest] = Future()
                while len(self._verdicts) > self._remembered:
                    self._verdicts.popitem(last=False)
        if known is not None:
            return known.result()
        try:
            verdict = self._ask_or_blame(question, reference, answer, digest)
        except BaseException as error:
            with self._lock:
                self._verdicts.pop(digest, None)
            told = error if isinstance(error, JudgeError) else JudgeError(f"{type(error).__name__}: {error}")
            mine.set_exception(told)
            raise
        mine.set_result(verdict)
        return verdict

    def _ask_or_blame(self, question: str, reference: str, answer: str, digest: bytes) -> bool | None:
        """As `_ask`; None too if the server refuses the question with this answer, and takes it with the reference.

        Such an answer is too long for the judge's context. It must not be left ungraded, which is better than wrong.
        """
        try:
            return self._ask(question, reference, answer, digest)
        except _RefusedError:
            if answer == reference:
                self._count("failures")
                raise
            self.ask(question, reference, reference)  # raises too if the question or a setting is at fault
            self._count("undecided")
            return None

    def _ask(self, question: str, reference: str, answer: str, digest: bytes) -> bool | None:
        # An answer placed between two marks can't predict them.
        values = {
            "question": question,
            "reference": reference,
            "answer": answer,
            "mark": f"=== {digest.hex()[:24]} ===",
        }
        text = re.sub(r"\{(question|reference|answer|mark)\}", lambda match: values[match[1]], self._rubric)
        request = json.dumps({**self._body, "messages": [{"role": "user", "content": text}]}).encode()
        for attempt in range(self._attempts):
            self._count("asked" if attempt == 0 else "retries")
            try:
                verdict = _decision(self._post(request))
            except JudgeError as error:
                if attempt + 1 == self._attempts or not isinstance(error, _TryAgainError):
                    if not isinstance(error, _RefusedError):
                        self._count("failures")
                    raise
                time.sleep(_BACKOFF_SECONDS * 2**attempt)
            else:
                if verdict is None:
                    self._count("undecided")
                return verdict
        raise AssertionError("at least one attempt")

    def _count(self, name: str) -> None:
        with self._lock:
            self._counts[name] += 1

    def _post(self, request: bytes) -> dict[str, Any]:
        """The server's reply. One deadline covers it all, so a server that sends a byte now and then blocks nobody."""
        deadline = time.monotonic() + self._timeout_s
        connection = self._kind(self._host, self._port, timeout=self._timeout_s)
        try:
            connection.connect()
            # `sock` is detached from the connection when the reply ends it, so keep it here.
            socket = connection.sock
            connection.request("POST", self._path, request, self._headers)
            socket.settimeout(max(0.001, deadline - time.monotonic()))
            response = connection.getresponse()
            content = bytearray()
            while chunk := response.read1(1 << 16):
                content += chunk
                if len(content) > _MOST_BYTES:
                    raise JudgeError(f"the reply has more than {_MOST_BYTES} bytes")
                if (left := deadline - time.monotonic()) <= 0:
                    raise TimeoutError
                if socket.fileno() >= 0:  # it is closed with the last byte
                    socket.settimeout(left)
        except TimeoutError as error:
            raise _TryAgainError(f"no reply within {self._timeout_s:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            raise _TryAgainError(f"{type(error).__name__}: {error}") from error
        finally:
            connection.close()
        if response.status != http.client.OK:
            told = bytes(content[:300]).decode(errors="replace").strip()
            kind: type[JudgeError] = _RefusedError if response.status in _REFUSED else JudgeError
            if response.status in _BUSY or response.status >= 500:
                kind = _TryAgainError
            raise kind(f"HTTP {response.status} {response.reason}: {told}")
        try:
            reply = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise _TryAgainError(f"the reply is not JSON: {bytes(content[:100])!r}") from error
        if not isinstance(reply, dict):
            raise JudgeError(f"the reply is not an object: {bytes(content[:100])!r}")
        return reply


def _decision(reply: dict[str, Any]) -> bool | None:
    try:
        choice = reply["choices"][0]
        text = choice["message"]["content"] or ""
        ended = choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise JudgeError(f"the reply has no choice with a message: {str(reply)[:200]}") from error
    lines = [line for line in str(text).rpartition("</think>")[2].splitlines() if line.strip()]
    found = _DECISION.match(lines[-1].strip()) if lines else None
    if found is not None:
        return found[1].lower() == "yes"
    if ended == "length":
        raise JudgeError(
            "the judge was cut off before its decision; raise `max_tokens` in `grading.judge.body`"
        )
    return None
