"""Routes of uploads: announce, send, look, cancel."""

from collections.abc import Sequence

from aiohttp import web

from smart_client.errors import InvalidRequest
from smart_client.gateway.desk import Desk
from smart_client.gateway.edge import json_response, read_record, whole_number
from smart_client.gateway.records import CreateUpload, UploadStatus
from smart_client.gateway.routes import Route
from smart_client.openapi import Operation, Parameter
from smart_client.wire import Count

NUMBER = Parameter("id", str, "the upload's number", "path")
OFFSET = Parameter("offset", Count, "of the first byte sent", required=True)


class UploadsApi:
    """Responsible for the routes below ``/api/v1/uploads``."""

    def __init__(self, desk: Desk) -> None:
        self._uploads = desk.uploads

    def routes(self) -> Sequence[Route]:
        """Return every route."""
        all_of_them, one = "/api/v1/uploads", "/api/v1/uploads/{id}"
        return [
            Route(
                Operation(
                    "GET",
                    all_of_them,
                    "List uploads, the latest first",
                    {200: tuple[UploadStatus, ...]},
                    tag="uploads",
                ),
                self.list_uploads,
            ),
            Route(
                Operation(
                    "POST",
                    all_of_them,
                    "Announce a file; the same name and size of an unfinished one find it again",
                    {200: UploadStatus, 201: UploadStatus},
                    refuses=(400, 403, 409, 413, 503, 507),
                    takes=CreateUpload,
                    tag="uploads",
                ),
                self.create_upload,
            ),
            Route(
                Operation(
                    "GET",
                    one,
                    "Show how far an upload has come",
                    {200: UploadStatus},
                    refuses=(404,),
                    parameters=(NUMBER,),
                    tag="uploads",
                ),
                self.get_upload,
            ),
            Route(
                Operation(
                    "PUT",
                    one,
                    "Send the next bytes of the file, as many as you like",
                    {200: UploadStatus},
                    refuses=(400, 403, 404, 409, 413, 503, 507),
                    takes="application/octet-stream",
                    parameters=(NUMBER, OFFSET),
                    tag="uploads",
                ),
                self.put_bytes,
            ),
            Route(
                Operation(
                    "DELETE",
                    one,
                    "Cancel an upload and remove what it left",
                    {204: None},
                    refuses=(400, 403, 404),
                    parameters=(NUMBER,),
                    tag="uploads",
                ),
                self.cancel_upload,
            ),
        ]

    async def list_uploads(self, _: web.Request) -> web.Response:
        """Answer with all uploads."""
        return json_response(self._uploads.all())

    async def create_upload(self, request: web.Request) -> web.Response:
        """Announce a file."""
        wish = await read_record(request, CreateUpload)
        status, is_new = await self._uploads.create(wish)
        return json_response(status, status=201 if is_new else 200)

    async def get_upload(self, request: web.Request) -> web.Response:
        """Answer with one upload."""
        return json_response(self._uploads.status(request.match_info["id"]))

    async def put_bytes(self, request: web.Request) -> web.Response:
        """Take bytes of the file as they come."""
        offset = whole_number(request, "offset", 2**62)
        if offset is None:
            raise InvalidRequest("say where these bytes go: ?offset=N")
        parts = request.content.iter_any()
        number = request.match_info["id"]
        try:
            status = await self._uploads.receive(number, offset, request.content_length, parts)
        except (ConnectionError, web.RequestPayloadError) as error:
            raise InvalidRequest("the request broke off; what came is kept") from error
        return json_response(status)

    async def cancel_upload(self, request: web.Request) -> web.Response:
        """Forget an upload."""
        await self._uploads.cancel(request.match_info["id"])
        return web.Response(status=204)
