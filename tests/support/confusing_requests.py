"""Requests made to confuse: two servers in a row must not read them in two ways."""

from support.fragments import fragment

PUT = fragment(1, 100)
KEY = PUT.key.hex().encode()
SECOND = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


def put(*lines, body=b""):
    head = [b"PUT /v1/chunks/%s HTTP/1.1" % KEY, b"Host: x", *lines]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def get(*lines, path=b"/ping", version=b"HTTP/1.1", method=b"GET"):
    return b"\r\n".join([b"%s %s %s" % (method, path, version), *lines]) + b"\r\n\r\n"


HOST = b"Host: x"
CHUNKED = b"Transfer-Encoding: chunked"
LENGTH = b"Content-Length: 100"

# One name for each way to be wrong. All must be refused before anything is stored.
REFUSED = {
    "length and chunked": put(LENGTH, CHUNKED, body=b"0\r\n\r\n" + SECOND),
    "chunked and length": put(CHUNKED, b"Content-Length: 5", body=b"0\r\n\r\n" + SECOND),
    "two equal lengths": put(LENGTH, LENGTH, body=PUT.data),
    "two lengths": put(LENGTH, b"Content-Length: 0", body=PUT.data),
    "a list of lengths": put(b"Content-Length: 100, 100", body=PUT.data),
    "a length with a plus": put(b"Content-Length: +100", body=PUT.data),
    "a negative length": put(b"Content-Length: -100", body=PUT.data),
    "a length with underscores": put(b"Content-Length: 1_00", body=PUT.data),
    "a hexadecimal length": put(b"Content-Length: 0x64", body=PUT.data),
    "a length with a space": put(b"Content-Length: 10 0", body=PUT.data),
    "an empty length": put(b"Content-Length:", body=PUT.data),
    "a length of many digits": put(b"Content-Length: " + b"9" * 40, body=PUT.data),
    "a length in other digits": put("Content-Length: ١٠٠".encode(), body=PUT.data),
    "an unknown coding": put(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n" + SECOND),
    "chunked twice": put(CHUNKED, CHUNKED, body=b"0\r\n\r\n" + SECOND),
    "identity, chunked": put(b"Transfer-Encoding: identity, chunked", body=b"0\r\n\r\n" + SECOND),
    "chunked, identity": put(b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n" + SECOND),
    "space before the colon": put(b"Transfer-Encoding : chunked", LENGTH, body=PUT.data),
    "a coding behind a tab": put(b"Transfer-Encoding:\x0bchunked", LENGTH, body=PUT.data),
    "chunked": put(CHUNKED, body=b"64\r\n" + PUT.data + b"\r\n0\r\n\r\n"),
    "chunks of a wrong size": put(CHUNKED, body=b"xyz\r\n" + PUT.data),
    "chunks of a negative size": put(CHUNKED, body=b"-1\r\n" + PUT.data),
    "chunks of a huge size": put(CHUNKED, body=b"f" * 30 + b"\r\n" + PUT.data),
    "no length": put(body=PUT.data),
    "bare line feeds": get(HOST).replace(b"\r\n", b"\n"),
    "a bare line feed among others": b"GET /ping HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
    "bare carriage returns": b"GET /ping HTTP/1.1\rHost: x\r\r",
    "a folded header": get(HOST, b"A: b", b" c"),
    "a folded first header": get(b" Host: x"),
    "a header without a colon": get(HOST, b"Nothing"),
    "a header without a name": get(HOST, b": value"),
    "a space in a header's name": get(HOST, b"A B: c"),
    "a zero byte in a header": get(HOST, b"A: b\x00c"),
    "a zero byte in the method": get(HOST, method=b"G\x00T"),
    "a method of other letters": get(HOST, method="GÉT".encode()),
    "a method that is no token": get(HOST, method=b"GE(T"),
    "an unknown method": get(HOST, method=b"BREW"),
    "an unknown version": get(HOST, version=b"HTTP/9.9"),
    "a version without a dot": get(HOST, version=b"HTTP/11"),
    "the opening of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no version": b"GET /ping\r\n\r\n",
    "no path": b"GET HTTP/1.1\r\nHost: x\r\n\r\n",
    "bytes above 127 in the path": get(HOST, path="/pïng".encode()),
    "a control byte in the path": get(HOST, path=b"/ping\x01"),
    "no host": get(),
    "two hosts": get(HOST, b"Host: y"),
    "a tunnel": get(HOST, method=b"CONNECT", path=b"example.org:443"),
    "a star": get(HOST, method=b"OPTIONS", path=b"*"),
    "a header of 64 KiB": get(HOST, b"A: " + b"a" * 65536),
    "two headers of 5 KiB": get(HOST, b"A: " + b"a" * 5000, b"B: " + b"b" * 5000),
    "200 headers": get(HOST, *[b"A: b"] * 200),
    "a path of 9 KiB": get(HOST, path=b"/" + b"a" * 9000),
    "a TLS handshake": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    "binary": bytes(range(256)),
    "empty lines only": b"\r\n" * 2000,
}
