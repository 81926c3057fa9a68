"""A shop in Flask that puts a job for each order, and a task's job for the mail.

flask --app examples.flask_shop run
beanrow work examples.flask_shop:tasks
curl --json '{"email": "ann@example.org"}' localhost:5000/orders
"""

import os

from flask import Flask, request

from beanrow import App
from beanrow.contrib.flask import Beanrow

SERVER = os.environ.get("BEANSTALKD_URL", "localhost:11300")

app = Flask(__name__)
app.config["BEANROW_SERVER"] = SERVER
queue = Beanrow(app)
tasks = App(SERVER)


@tasks.task(tube="order-mails")
def confirm(email: str) -> None:
    with app.app_context():  # what the function uses of Flask may need it
        print(f"{app.name}: mail to {email}", flush=True)


@app.post("/orders")
def order() -> tuple[dict[str, int], int]:
    job = queue.client.put(request.get_data(), tube="orders")
    return {"job": job, "mail": confirm.put(request.get_json()["email"])}, 202
