r"""Jobs of Laravel and Symfony Messenger, put and run by Python: each format is a codec.

python -m examples.php_jobs 42                       one job for each kind of PHP worker
python -m beanrow.worker examples.php_jobs:app       runs such jobs, whoever put them

Laravel (a job named by its class, `Queue::push('App\Jobs\SendWelcome@fire', [...])`): an object
whose member `data` are the arguments. A job that Laravel made of an object carries serialized
PHP instead, which only PHP can read.

Symfony with its JSON serializer (`serializer: messenger.transport.symfony_serializer`): an object
with headers, of which `type` is the class, and the message as JSON inside the string `body`.
"""

import argparse
import json
import uuid
from typing import Any

from beanrow import App


class LaravelCodec:
    def __init__(self, job: str) -> None:
        self.job = job  # class@method

    def encode(self, arguments: dict[str, Any]) -> bytes:
        payload = {
            "uuid": str(uuid.uuid4()),
            "displayName": self.job.partition("@")[0],
            "job": self.job,
            "maxTries": None,
            "maxExceptions": None,
            "failOnTimeout": False,
            "backoff": None,
            "timeout": None,
            "data": arguments,
        }
        return json.dumps(payload).encode()

    def decode(self, body: bytes) -> dict[str, Any]:
        payload = json.loads(body)
        if payload["job"] != self.job:
            raise ValueError(f"a job for {payload['job']}, where {self.job} is expected")
        return dict(payload["data"])


class SymfonyCodec:
    def __init__(self, message: str) -> None:
        self.message = message  # its class

    def encode(self, arguments: dict[str, Any]) -> bytes:
        headers = {"type": self.message, "Content-Type": "application/json"}
        return json.dumps({"body": json.dumps(arguments), "headers": headers}).encode()

    def decode(self, body: bytes) -> dict[str, Any]:
        envelope = json.loads(body)
        if envelope["headers"]["type"] != self.message:
            raise ValueError(f"a {envelope['headers']['type']}, where {self.message} is expected")
        return dict(json.loads(envelope["body"]))


app = App()  # BEANSTALKD_URL, else localhost:11300


@app.task(tube="emails", priority=1024, codec=LaravelCodec("App\\Jobs\\SendWelcome@fire"))
def send_welcome(user_id: int, lang: str = "en") -> None:
    print(f"Laravel: welcome user {user_id} in {lang}", flush=True)


@app.task(tube="messages", priority=1024, codec=SymfonyCodec("App\\Message\\SendWelcome"))
def welcome(user_id: int, lang: str = "en") -> None:
    print(f"Symfony: welcome user {user_id} in {lang}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Put a welcome for each kind of PHP worker.")
    parser.add_argument("user", type=int)
    user = parser.parse_args().user
    print(send_welcome.put(user), welcome.put(user))
    app.close()


if __name__ == "__main__":
    main()
