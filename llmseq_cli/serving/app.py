"""The HTTP service: /recommend, /health, a page to try it, and its documentation."""

import gc
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from llmseq_cli._version import __version__
from llmseq_cli.data.moments import moments
from llmseq_cli.errors import LlmseqError, UsageError, did_you_mean
from llmseq_cli.serving import page
from llmseq_cli.serving.batches import Batches, BusyError
from llmseq_cli.serving.guards import Application, Guards, RateLimit
from llmseq_cli.serving.options import MOST_ITEMS, MOST_RECOMMENDATIONS, MOST_SESSIONS
from llmseq_cli.serving.served import Served

_BUSY_SECONDS = "1"

Session = Annotated[list[str], Field(max_length=MOST_ITEMS)]
Time = Annotated[float, Field(strict=True)] | str
Times = Annotated[list[Time], Field(max_length=MOST_ITEMS)]


class RecommendRequest(BaseModel):
    """One session, or several."""

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True, json_schema_extra={"required": []})

    session: Session | None = Field(None, description=f"Ids or titles, oldest first; at most {MOST_ITEMS:,}.")
    sessions: Annotated[list[Session], Field(max_length=MOST_SESSIONS)] | None = Field(
        None, description=f"Instead of session: at most {MOST_SESSIONS} of them."
    )
    times: Times | list[Times | None] | None = Field(
        None,
        description="When the items were used, one time for each, for networks trained with times; others ignore them. "
        "Dates and times of ISO 8601 (UTC without an offset), or seconds since 1970. With sessions: a list for each, "
        "or null. Without times such a network treats the gaps between items as unknown.",
    )
    k: int = Field(20, ge=1, le=MOST_RECOMMENDATIONS, description="Recommendations per session.")
    run: str | None = Field(None, description="The run to ask; default: the first one served.")


class Recommendation(BaseModel):
    rank: int
    item: str
    title: str
    score: float


class Recommendations(BaseModel):
    """recommendations: best first. unknown: items of the session that are not in the catalog; they are ignored."""

    recommendations: list[Recommendation]
    unknown: list[str]


class RecommendResponse(BaseModel):
    """lists: one per session, in order."""

    run: str
    lists: list[Recommendations]


class Problem(BaseModel):
    error: str
    hint: str = ""


class Health(BaseModel):
    status: str


def make_app(
    open_models: Callable[[], Sequence[Served]], token: str | None, hosts: tuple[str, ...] | None, rate: RateLimit
) -> Application:
    """open_models: called when the service starts. token, hosts: see `Guards`."""
    models: dict[str, Served] = {}
    batches = Batches()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        for served in open_models():
            served.warm_up()
            models[served.run] = served
        batches.start()
        gc.freeze()  # loaded objects stay, so the garbage collector need not scan them
        yield
        gc.unfreeze()
        batches.stop()

    app = FastAPI(
        title="llmseq",
        version=__version__,
        description="Next items for sessions, from trained models.",
        lifespan=lifespan,
        docs_url=None,  # it would load scripts from other sites
        redoc_url=None,
    )
    _explain_errors(app)

    def served(run: str | None) -> Served:
        if run is None:
            return next(iter(models.values()))
        if run not in models:
            raise UsageError(f"the run '{run[:100]}' is not served", did_you_mean(run[:100], list(models)))
        return models[run]

    problems: dict[int | str, dict[str, Any]] = {
        status: {"model": Problem, "description": why}
        for status, why in (
            (401, "The token is missing or wrong"),
            (413, "The body is too large"),
            (422, "The request is not valid"),
            (429, "Too many requests; Retry-After says when to ask again"),
            (503, "Too many requests are waiting; Retry-After says when to ask again"),
        )
    }

    @app.post(
        "/recommend",
        response_model=RecommendResponse,
        responses=problems,
        response_description="Lists, best item first",
    )
    async def recommend(ask: RecommendRequest) -> Response:
        """The next items for a session, or for each of several."""
        if (ask.session is None) == (ask.sessions is None):
            raise UsageError("give session or sessions", 'for example {"session": ["item-1", "item-2"], "k": 5}')
        model = served(ask.run)
        sessions = [ask.session] if ask.session is not None else ask.sessions or []
        times = _times(ask, sessions)
        lists = await batches.answers(model, sessions, ask.k, times) if sessions else []
        return _json({"run": model.run, "lists": lists})

    @app.get("/health", response_model=Health, response_description="It does")
    async def health() -> Response:
        """Whether the service answers."""
        return _json({"status": "ok"})

    @app.get("/", include_in_schema=False)
    async def show(
        session: Annotated[str, Query()] = "", k: Annotated[int, Query(ge=1, le=page.MOST_SHOWN)] = 10
    ) -> HTMLResponse:
        items = page.items_of(session)
        if len(items) > MOST_ITEMS:
            raise UsageError(f"the session has {len(items):,} items", f"give at most {MOST_ITEMS:,}")
        answers = {name: (await batches.answers(one, [items], k))[0] if items else None for name, one in models.items()}
        return HTMLResponse(page.session_page(models, items, k, answers))

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        return HTMLResponse(page.docs_page(app.openapi(), models, str(request.base_url)))

    return Guards(app, token, hosts, rate)


def _times(ask: RecommendRequest, sessions: Sequence[Sequence[str]]) -> list[np.ndarray | None] | None:
    """Microseconds of the items of each session. Raises UsageError where times and sessions do not fit together."""
    if ask.times is None:
        return None
    given = [ask.times] if ask.session is not None else ask.times
    if len(given) != len(sessions):
        raise UsageError(f"times for {len(given)} of {len(sessions)} sessions", "give a list, or null, for each")
    return [None if one is None else _moments(one, len(session)) for one, session in zip(given, sessions, strict=True)]


def _moments(times: Any, n: int) -> np.ndarray:
    if not isinstance(times, list):
        raise UsageError("times hold no list for each session", "give a list of times, or null, for each session")
    if any(isinstance(one, list) or one is None for one in times):
        raise UsageError("times hold lists for one session", "give one time for each item")
    return moments(times, n)


def _json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(content, allow_nan=False), status, headers, media_type="application/json")


def _explain_errors(app: FastAPI) -> None:
    """Return every failure as {"error": …, "hint": …}."""

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != "body")
        if not place or first["type"] == "json_invalid":
            hint = "send a JSON object, with Content-Type: application/json; /docs shows an example"
            return _json({"error": "the body is not a JSON object", "hint": hint}, 422)
        return _json({"error": f"{place[:200]}: {first['msg']}", "hint": "/docs shows the format of a request"}, 422)

    @app.exception_handler(LlmseqError)
    async def failed(_: Request, error: LlmseqError) -> Response:
        busy = isinstance(error, BusyError)
        headers = {"retry-after": _BUSY_SECONDS} if busy else None
        return _json({"error": error.message, "hint": error.hint}, 503 if busy else 422, headers)

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> Response:
        hint = "/docs lists all routes" if error.status_code in (404, 405) else ""
        headers = dict(error.headers or {})
        return _json({"error": str(error.detail), "hint": hint}, error.status_code, headers)

    @app.exception_handler(Exception)
    async def broken(_: Request, error: Exception) -> Response:
        return _json({"error": "the service failed", "hint": "see its log"}, 500)
