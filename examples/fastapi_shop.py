"""A shop in FastAPI that puts a job for each order, and tells how many wait.

uvicorn examples.fastapi_shop:app
curl --json '{"email": "ann@example.org"}' localhost:8000/orders
"""

from typing import Annotated

from fastapi import Depends, FastAPI
from pydantic import BaseModel

from beanrow import AsyncClient, NotFoundError
from beanrow.contrib.starlette import client_of, lifespan

TUBE = "orders"

app = FastAPI(lifespan=lifespan())  # BEANSTALKD_URL, else localhost:11300
Queue = Annotated[AsyncClient, Depends(client_of)]


class Order(BaseModel):
    email: str


@app.post("/orders", status_code=202)
async def order(new: Order, queue: Queue) -> dict[str, int]:
    return {"job": await queue.put(new.model_dump_json(), tube=TUBE, ttr=120)}


@app.get("/orders")
async def waiting(queue: Queue) -> dict[str, int]:
    try:
        return {"waiting": (await queue.stats_tube(TUBE)).current_jobs_ready}
    except NotFoundError:  # a tube is there as long as it is used
        return {"waiting": 0}
