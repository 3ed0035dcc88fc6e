"""The log of a server process: text for people, one JSON object a line under ``--json``."""

import json
import logging
import sys
from datetime import UTC, datetime

from redundancy.terminal import Terminal


class JsonLines(logging.Formatter):
    """Responsible for a log in which every line is one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        content: dict[str, object] = {
            "event": "log",
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            content["traceback"] = self.formatException(record.exc_info)
        return json.dumps(content, default=str)


def log_to_stderr(terminal: Terminal) -> None:
    """Send what is logged to standard error, as much of it as the terminal wants."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonLines() if terminal.json else logging.Formatter("%(levelname)s %(message)s")
    )
    level = logging.DEBUG if terminal.verbosity > 1 else logging.INFO
    logging.basicConfig(
        handlers=[handler], level=logging.ERROR if terminal.quiet else level, force=True
    )
    for chatty in ("asyncio", "httpx", "httpcore"):  # one line per ping would drown the rest
        logging.getLogger(chatty).setLevel(logging.WARNING)
