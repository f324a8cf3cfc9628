"""What the pages of sign-in and consent say of who asks, and that those who send links say nothing there."""

from __future__ import annotations

import re

import pytest
from tests.kit.control import LOCAL, ControlSide


@pytest.mark.parametrize(
    ("client", "words"),
    [
        ("ide", ["It is registered here as", "your organisation registered"]),
        (
            "desk-client",
            ["organisation registered", "The agent <strong>desk</strong>, which <strong>dave</strong>"],
        ),
        ("dynamic", ["It calls itself", "Nobody has checked who made it"]),
    ],
)
def test_the_page_says_who_vouches_for_a_client(
    side: ControlSide, alice: dict[str, str], client: str, words: list[str]
) -> None:
    if client == "dynamic":
        document = {"client_name": "A tool", "redirect_uris": [LOCAL], "token_endpoint_auth_method": "none"}
        client = side.register(document).json()["client_id"]
    page = side.get(side.authorize_path(client, scope="mcp:read"), cookies=alice).text
    assert [word for word in words if word not in page] == []
    assert ("It calls itself" in page, "Nobody has checked" in page) == (client.startswith("dynamic"),) * 2
    assert ("your organisation registered" in page) is not client.startswith("dynamic")
    assert ("The agent" in page) is (client == "desk-client")


#: Words that somebody who sends links would like to see on our page.
EVIL = "call-0800-evil"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "The parameter client_id is missing."),
        ("client_id=ide", "The parameter redirect_uri is missing."),
        (f"client_id={EVIL}&redirect_uri=x", "This client is not known here."),
        (
            f"client_id=ide&redirect_uri=https://{EVIL}/",
            "The redirect address is not one that",
        ),
        (f"{EVIL}=1&{EVIL}=2&client_id=a&client_id=b", "A parameter is given more than once."),
        (f"{EVIL}=%00", "A parameter holds a control character."),
        (f"{EVIL}=%ff", "The parameters cannot be read."),
        (f"client_id=http://{EVIL}.example/c&redirect_uri=x", "The client id is not an https URL."),
        (f"client_id=https://{EVIL}.EXAMPLE/c&redirect_uri=x", "The client id does not name a host in its plain form."),
        (f"client_id=https://127.0.0.1/{EVIL}&redirect_uri=x", "The client id does not lead to a public site."),
        (f"client_id=https://{EVIL}.invalid/x&redirect_uri=x", "The client&#39;s document cannot be had"),
    ],
)
def test_a_link_puts_no_words_on_our_page(side: ControlSide, query: str, said: str) -> None:
    answer = side.get(f"/oauth/authorize?{query}")
    (told,) = re.findall(r"<h1>This did not work</h1>\n<p>(.*)</p>", answer.text)
    assert (answer.status_code, told.startswith(said), EVIL in answer.text) == (400, True, False), told
    assert re.fullmatch(r"[A-Z].*[^.]\.", told), told
