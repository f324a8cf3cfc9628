"""Requests and answers of the authorization server: what was asked, read strictly, and errors in the words of RFC 6749.

What reaches the control app was let through by the data plane; the address of the caller is what that says, never what
the caller says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, Response

from ostiary.errors import OperationError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

MAX_BODY_BYTES: Final = 64 * 1024
MAX_FIELDS: Final = 50
FORM: Final = "application/x-www-form-urlencoded"
#: Tells the data plane that this answer is a refusal, and why, for the record; it is not passed on.
REFUSED_HEADER: Final = "x-ostiary-refused"
#: Answers that are errors to the client and refuse nothing: a page would have been shown (OpenID Connect Core 3.1.2.6).
ASKS_FOR_A_PAGE: Final = frozenset({"login_required", "consent_required", "interaction_required"})
#: The words that differ from those of the closed list of reasons.
REASONS: Final = {"slow_down": "limit", "server_error": "temporarily_unavailable"}
NO_STORE: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
#: What an `error_description` may hold (RFC 6749 section 5.2).
_NOT_DESCRIBING: Final = re.compile(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]")


class OAuthError(OperationError):
    """A request that is refused: `error` is a code of RFC 6749 or of what extends it, `status` that of the answer."""

    def __init__(self, error: str, description: str, *, status: int = 400, retry_after: int | None = None) -> None:
        super().__init__(description)
        self.error = error
        self.description = _NOT_DESCRIBING.sub("'", description)[:400]
        self.status = status
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request. `headers` has names in lower case, and `client` is the address that the data plane saw."""

    method: str
    path: str
    query: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    cookies: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    client: str


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of one request, each given once. Those without a value count as absent (RFC 6749 section 3.1)."""

    values: Mapping[str, tuple[str, ...]] = field(repr=False)
    #: Names that were given more than once, though they may not be.
    repeated: tuple[str, ...] = ()

    def get(self, name: str) -> str | None:
        """Return the value of `name`, if it was given; the first one of a list."""
        found = self.values.get(name)
        return found[0] if found else None

    def all(self, name: str) -> tuple[str, ...]:
        """Return all values of `name`."""
        return self.values.get(name, ())

    def require(self, name: str) -> str:
        """Return the value of `name`. Raises `OAuthError` if it was not given."""
        found = self.get(name)
        if found is None:
            raise OAuthError("invalid_request", f"The parameter {name} is missing.")
        return found

    def flat(self) -> dict[str, str]:
        """Return name and value of each, for those who know no lists."""
        return {name: values[0] for name, values in self.values.items()}

    def check_repeated(self) -> None:
        """Raise `OAuthError` if anything was given twice."""
        if self.repeated:
            raise OAuthError("invalid_request", "A parameter is given more than once.")


def read_cookies(fields: Iterable[str]) -> dict[str, str]:
    """Return the cookies of a request, without those that come twice.

    Another host of the same site, or another path, can add one of the same name: which is ours is not to be guessed.
    """
    found = [pair for field in fields for part in field.split(";") for pair in cookie_parser(part).items()]
    names = [name for name, _ in found]
    return {name: value for name, value in found if names.count(name) == 1}


def read_parameters(text: str, *, lists: Collection[str] = ()) -> Parameters:
    """Read a query or form. Only the names in `lists` may repeat, and `repeated` names the others that do.

    Raises `OAuthError` where the text is not in that form, not UTF-8, or holds control characters.
    """
    try:
        pairs = parse_qsl(
            text, keep_blank_values=True, strict_parsing=bool(text), errors="strict", max_num_fields=MAX_FIELDS
        )
    except ValueError:
        raise OAuthError("invalid_request", "The parameters cannot be read.") from None
    found: dict[str, tuple[str, ...]] = {}
    for name, value in pairs:
        if _CONTROL.search(name) or _CONTROL.search(value):
            raise OAuthError("invalid_request", "A parameter holds a control character.")
        found[name] = (*found.get(name, ()), value)
    repeated = tuple(name[:60] for name, values in found.items() if len(values) > 1 and name not in lists)
    given = {name: tuple(value for value in values if value) for name, values in found.items()}
    return Parameters({name: values for name, values in given.items() if values}, repeated)


def read_form(asked: Asked, *, lists: Collection[str] = ()) -> Parameters:
    """Return the parameters in the body, as `read_parameters` does. Raises `OAuthError` if it is no form."""
    kind = asked.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != FORM:
        raise OAuthError("invalid_request", f"The body must be {FORM}.", status=415)
    try:
        text = asked.body.decode("ascii")
    except UnicodeDecodeError:
        raise OAuthError("invalid_request", "The parameters cannot be read.") from None
    form = read_parameters(text, lists=lists)
    form.check_repeated()
    return form


def refused(response: Response, error: str) -> Response:
    """Return an answer that says no, marked with the reason that is recorded."""
    if error not in ASKS_FOR_A_PAGE:
        response.headers[REFUSED_HEADER] = REASONS.get(error, error)
    return response


def answer(content: Mapping[str, Any], *, status: int = 200) -> Response:
    """Return a JSON answer that nobody keeps."""
    return JSONResponse(dict(content), status_code=status, headers=NO_STORE)


def refusal(error: OAuthError, *, basic: bool = False) -> Response:
    """Return the error answer of RFC 6749 section 5.2; with `basic`, a 401 says how to authenticate instead."""
    response = answer({"error": error.error, "error_description": error.description}, status=error.status)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    if error.status == 401 and basic:
        response.headers["WWW-Authenticate"] = 'Basic realm="ostiary", charset="UTF-8"'
    return response
