"""mpv for tests."""

import json
import socket
import subprocess
import time
from pathlib import Path


class Mpv:
    """mpv without a screen, driven by its JSON IPC."""

    def __init__(self, url: str, place: Path, *options: str) -> None:
        self._path = str(place / "mpv.sock")
        self.process = subprocess.Popen(
            [
                *("mpv", "--no-config", "--vo=null", "--ao=null", "--idle=no", "--keep-open=yes"),
                *("--really-quiet", "--demuxer-max-bytes=2MiB", f"--input-ipc-server={self._path}"),
                *options,
                url,
            ],
            stdin=subprocess.DEVNULL,
        )
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        limit_s = time.monotonic() + 60
        while True:
            try:
                self._socket.connect(self._path)
                break
            except OSError:
                assert self.process.poll() is None, "mpv ended"
                assert time.monotonic() < limit_s
                time.sleep(0.05)
        self._lines = self._socket.makefile("rb")
        self._count = 0

    def ask(self, *words: object) -> object:
        self._count += 1
        message = json.dumps({"command": words, "request_id": self._count}) + "\n"
        self._socket.sendall(message.encode())
        while True:
            answer = json.loads(self._lines.readline())
            if answer.get("request_id") == self._count:
                return answer.get("data") if answer["error"] == "success" else None

    def wait_for_position(self, low_s: float, high_s: float) -> float:
        limit_s = time.monotonic() + 60
        while time.monotonic() < limit_s:
            position = self.ask("get_property", "time-pos")
            seeking = self.ask("get_property", "seeking")
            if isinstance(position, float) and low_s <= position <= high_s and not seeking:
                return position
            time.sleep(0.05)
        raise AssertionError(f"mpv is at {position}, wanted {low_s}..{high_s}")

    def close(self) -> None:
        self._lines.close()
        self._socket.close()
        self.process.terminate()
        self.process.wait(20)
