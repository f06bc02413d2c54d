"""The call and its envelope: JSON-RPC 2.0 over Redis lists, so that `redis-cli` or any language can make one.

A request is read twice: first its envelope, to know whom to answer, then its parameters. What cannot be read is refused
with the code that JSON-RPC gives it. One of the usual form is read in one go; it is the same as read twice.
"""

import re
from dataclasses import asdict
from functools import lru_cache
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from vimmon.vim import Frozen, VimStatus

REQUEST_MAX_BYTES = 16 * 1024
BAD_ACTION: Final = "bad_action"
ANONYMOUS = "anonymous"  # the holder of whoever does not name itself

ENUM_MEMBER = re.compile(r"<[^:>]+: '(\w+)'>|'")  # as pydantic writes what it expected

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
UNKNOWN_METHOD = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603  # this request cannot be carried out
TRY_AGAIN = -32000  # not now: the database is away

Id = str | int | float | None
Word = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[\x21-\x7e]+$")]


class Request(Frozen):
    """The envelope. `expires_at` is in ms of Redis's clock; `reply_to` None asks for no answer."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    jsonrpc: Literal["2.0"]
    id: Id = None
    method: str
    params: dict[str, Any] = Field(default_factory=dict)
    reply_to: str | None = None
    expires_at: int | None = None


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class UpdateVim:
    """What a monitor has to say. Without `generation`, the cache alone never refuses it; without `seq`, the row's next
    one is meant, and the cache never answers.

    A dataclass, as what is looked at so often: an attribute of a model takes four times as long. It checks what it is
    made of, as a model does, and raises pydantic's ValidationError.
    """

    vim_id: Word
    status: Literal[VimStatus.REACHABLE, VimStatus.UNREACHABLE, VimStatus.UNKNOWN]
    action_id: Word
    generation: Annotated[int, Field(ge=0, lt=2**53)] | None = None
    seq: Annotated[int, Field(ge=1, lt=2**53)] | None = None
    holder: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")] = ANONYMOUS
    reason: Annotated[str, Field(max_length=500, pattern=r"^[^\x00-\x1f]*$")] = ""


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid", strict=True))
class UpdateCall:
    """An update_vim as monitors send it: envelope and parameters. `reply_to` is yet to be looked at."""

    jsonrpc: Literal["2.0"]
    id: str
    method: Literal["update_vim"]
    params: UpdateVim
    reply_to: str
    expires_at: Annotated[int, Field(lt=2**53)] | None = None


READ_PARAMS = TypeAdapter(UpdateVim).validator.validate_python
READ_USUAL = TypeAdapter(UpdateCall).validator.validate_json  # without its own look at options first


class Answer(Frozen):
    """The result of update_vim: the status passed in, or `bad_action`. `applied` False: this seq, or a newer one, was
    known already; then `status` and `seq` are the known ones."""

    status: Literal[VimStatus.PENDING, VimStatus.REACHABLE, VimStatus.UNREACHABLE, VimStatus.UNKNOWN, "bad_action"]
    applied: bool = True
    seq: int | None = None


STATUSES: tuple[VimStatus | Literal["bad_action"], ...] = (*VimStatus, BAD_ACTION)
PLAIN_ANSWERS = {str(status): Answer(status=status) for status in STATUSES}  # most are one of these


class Refusal(Exception):
    """A request that cannot be carried out, as JSON-RPC says it. `reply_to` None: nobody can be told."""

    def __init__(self, code: int, message: str, *, id: Id = None, reply_to: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.id, self.reply_to = code, message, id, reply_to


def read_request(raw: bytes, *, replies_prefix: str) -> Request | UpdateCall:
    """The envelope of a request. Raises Refusal."""
    if len(raw) > REQUEST_MAX_BYTES:
        raise Refusal(INVALID_REQUEST, f"the request has {len(raw)} bytes, more than {REQUEST_MAX_BYTES}")
    try:
        usual: UpdateCall = READ_USUAL(raw)
    except ValidationError:
        return _read_envelope(raw, replies_prefix)
    return usual if _may_answer(usual.reply_to, replies_prefix) else _read_envelope(raw, replies_prefix)


def _read_envelope(raw: bytes, replies_prefix: str) -> Request:
    try:
        data = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Refusal(PARSE_ERROR, f"not JSON: {error}") from None
    if not isinstance(data, dict):
        raise Refusal(INVALID_REQUEST, "the request is not an object")
    reply_to, id_ = data.get("reply_to"), data.get("id")
    if reply_to is not None and not (isinstance(reply_to, str) and _may_answer(reply_to, replies_prefix)):
        raise Refusal(INVALID_REQUEST, f"reply_to: does not begin with {replies_prefix}")
    try:
        return Request.model_validate(data)
    except ValidationError as error:
        known_id = id_ if isinstance(id_, str | int | float) else None
        raise Refusal(INVALID_REQUEST, explain(error), id=known_id, reply_to=reply_to) from None


def update_of(params: dict[str, Any]) -> UpdateVim:
    """What there is to say, by the names of its fields. Raises pydantic's ValidationError."""
    said: UpdateVim = READ_PARAMS(params)
    return said


def read_update_vim(request: Request | UpdateCall) -> UpdateVim:
    """The parameters of an update_vim. Raises Refusal that names the field."""
    if isinstance(request, UpdateCall):
        return request.params
    try:
        return update_of(request.params)
    except ValidationError as error:
        problem = explain(error)
    raise Refusal(INVALID_PARAMS, problem, id=request.id, reply_to=request.reply_to)  # without the error and its frames


def explain(error: ValidationError) -> str:
    """The first thing that is wrong: the field, and what it must be. Never repeats the value."""
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] in ("literal_error", "enum"):
        members = ENUM_MEMBER.sub(r"\1", str(first["ctx"]["expected"]))
        problem = f"not one of {members.replace(' or ', ', ')}"
    elif first["type"] == "unexpected_keyword_argument":
        problem = "there is no such parameter"
    else:
        problem = first["msg"]
    return f"{'.'.join(map(str, first['loc']))}: {problem}"


def call(request_id: str, params: UpdateVim, *, reply_to: str, expires_at: int | None) -> bytes:
    """An update_vim, ready for the request list."""
    said: Any = params
    if params.seq is None or params.generation is None:
        said = {name: value for name, value in asdict(params).items() if value is not None}
    envelope: dict[str, Any] = {
        "jsonrpc": "2.0",
        "id": request_id,
        "method": "update_vim",
        "params": said,
        "reply_to": reply_to,
    }
    if expires_at is not None:
        envelope["expires_at"] = expires_at
    return orjson.dumps(envelope)


def answer(id_: Id, result: Answer) -> bytes:
    if result.applied:
        return orjson.dumps({"jsonrpc": "2.0", "id": id_, "result": {"status": result.status}})
    body = {"status": result.status, "applied": False, "seq": result.seq}
    return orjson.dumps({"jsonrpc": "2.0", "id": id_, "result": body})


def error(id_: Id, code: int, message: str) -> bytes:
    return orjson.dumps({"jsonrpc": "2.0", "id": id_, "error": {"code": code, "message": message}})


class CallFailed(Exception):
    """The conductor answered with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code


def read_reply(raw: bytes) -> tuple[Id, Answer | CallFailed]:
    """The id and content of an answer. Raises ValueError for what is none."""
    data = orjson.loads(raw)
    if not isinstance(data, dict) or "id" not in data:
        raise ValueError("not an answer")
    if "error" in data:
        problem = data["error"] if isinstance(data["error"], dict) else {}
        code = problem.get("code", INTERNAL_ERROR)
        if not isinstance(code, int):
            raise ValueError("its error has no code")
        message = problem.get("message", "")
        return data["id"], CallFailed(code, message if isinstance(message, str) else "")
    result = data.get("result")
    if isinstance(result, dict) and len(result) == 1 and isinstance(status := result.get("status"), str):
        known = PLAIN_ANSWERS.get(status)
        if known is not None:
            return data["id"], known
    return data["id"], Answer.model_validate(result)


@lru_cache(maxsize=1024)  # an executor has one
def _may_answer(reply_to: str, prefix: str) -> bool:
    return (
        reply_to.startswith(prefix)
        and len(prefix) < len(reply_to) <= 512
        and reply_to.isascii()
        and reply_to.isprintable()
    )
