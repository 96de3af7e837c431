"""What people would use instead, measured beside Callbox.

`floor` is a bare endpoint that proves a callback and forgets it: no durable intake can be faster. `usual` is what most
would write: the same endpoint with `task.delay()`, and a Celery task that inserts one row.
"""

import hashlib
import hmac
import json
import os
from functools import cache
from typing import Any

import psycopg
from celery import Celery
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

TABLE = """
CREATE TABLE usual (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, received_at timestamptz NOT NULL DEFAULT now(),
    message_id text NOT NULL, status text, sender text, recipient text, body jsonb NOT NULL)
"""

celery = Celery("usual", broker=os.environ.get("BENCH_REDIS_URL"))
celery.conf.update(task_ignore_result=True, task_acks_late=True)


async def _floor(request: Request) -> Response:
    body = await request.body()
    return Response(status_code=200 if _is_signed(request, body) else 401)


async def _usual(request: Request) -> Response:
    body = await request.body()
    if not _is_signed(request, body):
        return Response(status_code=401)
    record.delay(body.decode())
    return Response()


def _is_signed(request: Request, body: bytes) -> bool:
    expected = hmac.new(os.environ["BENCH_SECRET"].encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, request.headers.get("x-messente-signature", ""))


@celery.task(name="record")  # type: ignore[untyped-decorator]
def record(body: str) -> None:
    document = json.loads(body)
    row = (
        document.get("message_id") or document["msg_id"],
        document.get("status"),
        document.get("sender"),
        document.get("to"),
        body,
    )
    _database().execute(
        "INSERT INTO usual (message_id, status, sender, recipient, body) VALUES (%s, %s, %s, %s, %s)", row
    )


@cache
def _database() -> "psycopg.Connection[Any]":
    return psycopg.connect(os.environ["BENCH_DATABASE_URL"], autocommit=True)


floor = Starlette(routes=[Route("/callbacks/{source}", _floor, methods=["POST"])])
usual = Starlette(routes=[Route("/callbacks/{source}", _usual, methods=["POST"])])
