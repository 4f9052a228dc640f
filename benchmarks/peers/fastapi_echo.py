"""A FastAPI endpoint that reads a proposal and gives it back: what another framework takes for the parsing alone.

python fastapi_echo.py    (in the peers' environment; it prints its port)
"""

from __future__ import annotations

import socket
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Proposal(BaseModel):
    entity_id: str
    entity_type: str
    action_name: str
    actor_id: str | None = None
    parameters: dict[str, Any] = {}


app = FastAPI()


@app.post("/bare")
async def echo(proposal: Proposal) -> Proposal:
    return proposal


if __name__ == "__main__":
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.bind(("127.0.0.1", 0))
    bound.listen(2048)
    print(bound.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(app, http="httptools", access_log=False, log_level="warning")).run([bound])
