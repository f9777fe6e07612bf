"""A local server that speaks OpenAI's chat completions as far as the judge needs it, and misbehaves on demand."""

import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SAME = {("Paris", "The city of Paris"), ("A catalyst", "catalyst"), ("4", "four")}
_ASKED = re.compile(
    r"Reference answer:\n(.*?)\n\nAnswer of a student.*?:\n(=== \w+ ===)\n(.*)\n\2\n", re.DOTALL
)


class JudgeServer(ThreadingHTTPServer):
    """Says yes to the pairs in SAME. delay: seconds before each reply. asked: (reference, answer) pairs so far."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.delay = 0.0
        self.asked: list[tuple[str, str]] = []
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.most_at_once = self.at_once = 0
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: JudgeServer

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        reference, _, answer = _ASKED.findall(body["messages"][0]["content"])[-1]
        with server.lock:
            server.requests.append({**body, "path": self.path})
            server.headers.append(dict(self.headers))
            earlier = server.asked.count((reference, answer))
            server.asked.append((reference, answer))
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
        try:
            time.sleep(server.delay)
            self._reply(reference, answer, earlier)
        finally:
            with server.lock:
                server.at_once -= 1

    def _reply(self, reference: str, answer: str, earlier: int) -> None:
        decision = "Yes" if (reference, answer) in SAME else "No"
        text, ended = (
            f"<think>Final Decision: Yes?</think>I compared them.\n**Final Decision: {decision}**",
            "stop",
        )
        if answer == "busy once" and not earlier:
            self._send(503, b"overloaded")
        elif answer == "forbidden":
            self._send(401, b"no such key")
        elif answer.startswith("too long") or reference == "unfit":
            self._send(400, b"This model's maximum context length is 2048 tokens.")
        elif answer == "not JSON":
            self._send(200, b"<html>")
        elif answer == "silent":
            time.sleep(30)
        elif answer == "dripping":
            self.send_response(200)
            self.end_headers()
            for _ in range(100):
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.1)
        elif answer == "endless":
            self.send_response(200)
            self.end_headers()
            while True:
                self.wfile.write(b" " * 65536)
        elif answer == "hangs up":
            self.close_connection = True
        else:
            if answer == "cut off":
                text, ended = "Let me think about", "length"
            elif answer == "undecided":
                text = "Final Decision: Yes\nOr perhaps not."
            self._send(
                200,
                json.dumps({"choices": [{"message": {"content": text}, "finish_reason": ended}]}).encode(),
            )

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass
