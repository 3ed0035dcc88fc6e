"""The pages: static files of the package ``smart_client.ui``, read once and kept in memory."""

import hashlib
import importlib.util
import mimetypes
from collections.abc import Mapping, Sequence
from pathlib import Path

from aiohttp import web

from smart_client.gateway.routes import Route
from smart_client.openapi import Operation, Parameter

UI_PACKAGE = "smart_client.ui"

POLICY = (
    "default-src 'self'; media-src 'self' blob:; worker-src 'self' blob:; "
    "style-src 'self'; connect-src 'self'"
)

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}
_NOT_SERVED = frozenset({".py", ".pyc"})

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-cache",
}


class Pages:
    """Responsible for ``/`` and ``/ui/``. Only files that were there at the start are served."""

    def __init__(self, directory: Path | None = None) -> None:
        self._files: Mapping[str, tuple[bytes, str, str]] = _read(directory or ui_directory())

    def routes(self) -> Sequence[Route]:
        """Return every route."""
        path = Parameter("path", str, "a file of the pages", "path")
        return [
            Route(Operation("GET", "/", "Go to the pages", {302: None}, tag="pages"), self.go),
            Route(Operation("GET", "/ui", "Go to the pages", {302: None}, tag="pages"), self.go),
            Route(
                Operation(
                    "GET",
                    "/ui/{path}",
                    "A file of the pages",
                    {200: "*/*", 304: None},
                    refuses=(404,),
                    parameters=(path,),
                    tag="pages",
                ),
                self.serve,
                pattern="/ui/{path:.*}",
            ),
        ]

    async def go(self, _: web.Request) -> web.Response:
        """Send the browser to the first page."""
        return web.Response(status=302, headers={"Location": "/ui/"})

    async def serve(self, request: web.Request) -> web.Response:
        """Send a file."""
        found = self._files.get(request.match_info["path"] or "index.html")
        if found is None:
            raise web.HTTPNotFound
        body, kind, etag = found
        headers = {**HEADERS, "ETag": etag, "Content-Type": kind}
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, headers=headers)


def ui_directory() -> Path | None:
    """Return where the pages lie; None if this installation has none."""
    spec = importlib.util.find_spec(UI_PACKAGE)
    if spec is None or spec.submodule_search_locations is None:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def _read(directory: Path | None) -> dict[str, tuple[bytes, str, str]]:
    files: dict[str, tuple[bytes, str, str]] = {}
    for path in sorted(directory.rglob("*")) if directory is not None else ():
        name = path.relative_to(directory).as_posix() if directory is not None else ""
        if not path.is_file() or path.suffix in _NOT_SERVED or "__pycache__" in path.parts:
            continue
        body = path.read_bytes()
        guess = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        files[name] = (body, _TYPES.get(path.suffix, guess), etag)
    return files
