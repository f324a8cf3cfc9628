"""A real OpenID provider for tests: a process of its own, to sign in at, which can be made to misbehave.

    with Provider() as provider:                       # RS256, on 127.0.0.1, client `ostiary` with secret SECRET
        provider.set_user("alice", email="alice@example.com", groups=["dev"])   # claims as they are, `sub` is "alice"
        provider.sign_in_as("alice")                   # who sits at the browser; else `&login_hint=alice`, else a form
        yaml = {"preset": "generic", "issuer": provider.issuer, "client_id": provider.client_id,
                "client_secret": "env:OIDC_SECRET", "claims": {"groups": "groups"}, "email_domains": ["example.com"]}
        back = provider.visit(url)                     # what a browser does with the gateway's redirect: the way back

Any other browser works as well: without `sign_in_as` and `login_hint` the authorization endpoint shows a form with one
field, `username`, and remembers the answer in a cookie. `redirect_uri` is not checked unless `redirect_uris` is set.

To see what came: `provider.seen("/token")`. To misbehave, until `reset()`:

    provider.disable("alice")                          # refresh tokens of hers answer invalid_grant, and no sign-in
    provider.set(down=True)                            # 503 on everything
    provider.set(statuses={"/userinfo": 401})          # this status, for requests to that path
    provider.set(hangs=True)                           # no answer until the test says otherwise
    provider.set(id_token={"nonce": "x"})              # members of ID tokens to put in place; None takes one out
    provider.set(userinfo={"sub": "bob"}, answer={"refresh_token": None}, callback={"iss": "https://evil.test"})
    provider.set(discovery={"userinfo_endpoint": None})
    provider.set(signing="none")                       # or "HS256" (by the client's secret), "stranger" (unknown key)
    provider.set(rotate=False, refresh=False, id_token_on_refresh=False, only_userinfo=["groups"])
    provider.rotate_keys()                             # a new key signs, the old one is gone

`provider.replay("entra")` answers as that kind of provider does, by the preset's own documents, and returns the `sub`
of the one user there; `provider.issuer` is then another.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from email.message import Message

ROOT: Final = Path(__file__).parents[3]
CLIENT_ID: Final = "ostiary"
SECRET: Final = "the secret of the test client"
DEADLINE_S: Final = 10


class _Stay(urllib.request.HTTPRedirectHandler):
    """Redirects are for the test to look at."""

    def redirect_request(self, *_: Any) -> None:
        """Follow nothing."""


class Provider:
    """The provider's process, as the test holds it. See the module for what it can do."""

    client_id = CLIENT_ID
    secret = SECRET

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.origin = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.issuer = self.origin
        self._opener = urllib.request.build_opener(_Stay, urllib.request.ProxyHandler({}))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        fd = self._socket.fileno()
        # It ends with its standard input, so that it never outlives the test run.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.kit.provider", str(fd), self.origin],
            cwd=ROOT,
            pass_fds=[fd],
            stdin=subprocess.PIPE,
        )
        self.reset()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.terminate()
        self._process.wait(DEADLINE_S)
        self._socket.close()

    # People and behaviour ---------------------------------------------------------------------------------------------

    def set_user(self, sub: str, **claims: Any) -> None:
        """Add a person, or change what is said of her: `claims` replace those before."""
        self._tell("user", {"sub": sub, "claims": {"email_verified": True, **claims}})

    def disable(self, sub: str) -> None:
        """Let a person be nobody any more."""
        self._tell("disable", {"sub": sub})

    def sign_in_as(self, sub: str | None) -> None:
        """Let whoever comes be this person, without a form; None: nobody."""
        self._tell("set", {"auto": sub})

    def set(self, **behaviour: Any) -> None:
        """Change how the provider behaves; see the module."""
        self._tell("set", behaviour)

    def rotate_keys(self) -> None:
        """Sign with a new key from now on, and publish only that."""
        self._tell("rotate", {})

    def reset(self) -> None:
        """Behave again; people, refresh tokens and keys stay."""
        self.issuer = self.origin
        self._tell("reset", {})

    def replay(self, preset: str) -> str:
        """Answer as a provider of this kind does, and return the `sub` of the one user there."""
        text = (ROOT / "src/ostiary/identity/presets" / f"{preset}.json").read_text("utf-8")
        told = self._tell("replay", json.loads(text))
        self.issuer = str(told["issuer"])
        return str(told["sub"])

    def seen(self, path: str) -> list[dict[str, Any]]:
        """Return the requests to `path` so far: `query`, `form`, `authorization`."""
        return [each for each in self._tell("seen", {})["seen"] if each["path"] == path]

    # The browser's part -----------------------------------------------------------------------------------------------

    def visit(self, url: str) -> str:
        """Open an authorization URL and return where the browser is sent."""
        status, headers, body = self.get(url)
        location = headers["location"]
        assert status == 302, f"{status} {body!r}"
        assert location is not None
        return str(location)

    def get(self, url: str) -> tuple[int, Message[str, str], bytes]:
        """Fetch a page of the provider, following nothing."""
        try:
            with self._opener.open(url, timeout=DEADLINE_S) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()

    def _tell(self, act: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(f"{self.origin}/test/{act}", json.dumps(body).encode(), method="POST")
        with self._opener.open(request, timeout=DEADLINE_S) as answer:
            told: dict[str, Any] = json.loads(answer.read())
        return told
