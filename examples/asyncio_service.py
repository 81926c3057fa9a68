"""A service for asyncio: POST /tubes/TUBE puts the body of the request into a tube.

All requests share one client and one connection, and their puts go out together:
python -m examples.asyncio_service --listen 8080 --server HOST:PORT
curl --data hello localhost:8080/tubes/emails
"""

import argparse
import asyncio
import json
import re

from beanrow import (
    AsyncClient,
    BadValueError,
    BeanstalkError,
    CommandError,
    ConnectionLostError,
    JobTooBigError,
)

TUBE = re.compile(r"POST /tubes/([^/? ]+) HTTP/1\.[01]\r\n")
LENGTH = re.compile(r"\r\ncontent-length: *([0-9]{1,9})\r\n", re.IGNORECASE)
MOST_BYTES = 2**20
PATIENCE = 10  # seconds for a whole request


async def answer(
    client: AsyncClient, reader: asyncio.StreamReader
) -> tuple[str, dict[str, object]]:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        tube, length = TUBE.match(head), LENGTH.search(head)
        if tube is None:
            return "404 Not Found", {"error": "only POST /tubes/TUBE is here"}
        if length is None:
            return "411 Length Required", {"error": "Content-Length is missing"}
        if int(length[1]) > MOST_BYTES:
            return "413 Content Too Large", {"error": f"more than {MOST_BYTES} bytes"}
        body = await reader.readexactly(int(length[1]))
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return "400 Bad Request", {"error": "not a whole request"}
    return await enqueue(client, tube[1], body)


async def enqueue(client: AsyncClient, tube: str, body: bytes) -> tuple[str, dict[str, object]]:
    try:
        return "201 Created", {"job": await client.put(body, tube=tube)}
    except BadValueError as error:
        return "400 Bad Request", {"error": str(error)}
    except JobTooBigError as error:
        return "413 Content Too Large", {"error": str(error)}
    except ConnectionLostError as error:  # "unknown": the caller may put it twice by trying again
        return "503 Service Unavailable", {"error": str(error), "outcome": error.outcome}
    except CommandError as error:
        return "503 Service Unavailable", {"error": str(error), "outcome": "refused"}
    except BeanstalkError as error:
        return "502 Bad Gateway", {"error": str(error)}


async def serve_one(
    client: AsyncClient, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            status, told = await answer(client, reader)
            body = json.dumps(told).encode() + b"\n"
            head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
            head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
    except (TimeoutError, ConnectionError):
        pass  # the caller is gone, or too slow
    finally:
        writer.close()


async def serve(client: AsyncClient, port: int) -> asyncio.Server:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve_one(client, reader, writer)

    return await asyncio.start_server(accept, "127.0.0.1", port)


async def main() -> None:
    parser = argparse.ArgumentParser(description="Take jobs over HTTP.")
    parser.add_argument("--listen", type=int, default=8080, help="the port (default 8080)")
    parser.add_argument("--server", help="HOST:PORT; else BEANSTALKD_URL, else localhost:11300")
    arguments = parser.parse_args()
    async with (
        AsyncClient(arguments.server) as client,
        await serve(client, arguments.listen) as server,
    ):
        print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        pass  # the usual way to end it
