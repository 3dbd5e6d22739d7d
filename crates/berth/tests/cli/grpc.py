"""Calls Berth's socket by gRPC's C core: every service, every kind of call, with each authority that a client may send.

Usage: grpc.py SOCKET IMAGE. Messages are written by hand, so that nothing has to be generated."""

import sys
import urllib.parse

# Not the folder of this file, which has the library's name.
sys.path.pop(0)
import grpc  # noqa: E402

SOCKET, IMAGE = sys.argv[1:]
LIMIT = 60
# Larger than a frame, a window and a read.
PART = 3 << 20


def field(number, value):
    """A field of bytes."""
    length, out = len(value), bytearray([number << 3 | 2])
    while length > 127:
        out.append(length & 127 | 128)
        length >>= 7
    return bytes(out) + bytes([length]) + value


def fields(message):
    """The fields of a message that has only bytes and numbers."""
    at = 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key = number()
        value = number()
        if key & 7 == 2:
            value, at = message[at:at + value], at + value
        yield key >> 3, value


class Client:
    def __init__(self, authority):
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        if authority is not None:
            options.append(("grpc.default_authority", authority))
        self.channel = grpc.insecure_channel("unix:" + SOCKET, options=options)

    def unary(self, method, request=b""):
        return self.channel.unary_unary(method)(request, timeout=LIMIT)

    def stream(self, method, request):
        return self.channel.unary_stream(method)(request, timeout=LIMIT)

    def both(self, method, requests):
        return self.channel.stream_stream(method)(requests, timeout=LIMIT)


def refused(call):
    try:
        call()
    except grpc.RpcError as error:
        return error.code()
    raise AssertionError("was not refused")


def run(client):
    for _ in range(3):
        assert b"berth" in client.unary("/runtime.v1.RuntimeService/Version")
    assert IMAGE.encode() in client.unary("/runtime.v1.ImageService/ListImages")
    assert SOCKET.rsplit("/", 1)[0].encode() in client.unary("/berth.v1.Berth/Info")
    # Its own refusals come through.
    status = "/runtime.v1.RuntimeService/ContainerStatus"
    assert refused(lambda: client.unary(status, field(1, b"nothing"))) == grpc.StatusCode.NOT_FOUND
    # As metadata beside the authority.
    assert refused(lambda: client.unary("/runtime.v1.RuntimeService/Nothing")) == grpc.StatusCode.UNIMPLEMENTED

    chunks = list(client.stream("/berth.v1.Berth/Save", field(1, IMAGE.encode())))
    archive = b"".join(value for chunk in chunks for number, value in fields(chunk) if number == 1)
    # Padded, since a tar archive may be: so a message is large.
    archive += bytes(2 * PART)

    def parts():
        for at in range(0, len(archive), PART):
            yield field(1, archive[at:at + PART])
        yield b"\x10\x01"

    events = list(client.both("/berth.v1.Berth/Load", parts()))
    assert any(IMAGE.encode() in event for event in events), events
    assert len(archive) > 2 * PART
    # A call that is broken off, and one after it.
    broken = client.stream("/berth.v1.Berth/Save", field(1, IMAGE.encode()))
    next(broken)
    broken.cancel()
    assert b"berth" in client.unary("/runtime.v1.RuntimeService/Version")


AUTHORITIES = [
    None,
    urllib.parse.quote(SOCKET, safe=""),
    urllib.parse.quote(SOCKET, safe="") + "%C3%A4" * 200,
    SOCKET,
    "localhost",
    "localhost:80",
    "a:b:c@[d]?e#f",
]
clients = [Client(authority) for authority in AUTHORITIES]
for client in clients + clients[:2]:
    run(client)
print(grpc.__version__, len(AUTHORITIES), "authorities")
