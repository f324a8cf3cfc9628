"""M06: an agent ends with its owner, however that comes about: a change of the file, a restart, a lease, an expiry."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.kit.caller import Caller
from tests.kit.estate import CEILING, Estate
from tests.kit.gateway import as_yaml
from tests.kit.wire import wait_until

ECHO = {"text": "x"}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """A gateway of its own: these tests stop it."""
    with Estate(tmp_path_factory.mktemp("alone"), changes={"oauth": {}}) as made:
        yield made


def readiness(estate: Estate) -> Any:
    return estate.gateway.admin_get("/readyz").json()


def test_another_owner_while_the_gateway_was_stopped_counts_at_its_start(alone: Estate) -> None:
    before = {name: alone.bot(name) for name in ("bot", "desk")}
    assert alone.gateway.end() == 0
    alone.gateway.config["agents"]["bot"]["owner"] = "nina"
    alone.gateway.save(as_yaml(alone.gateway.config))
    alone.gateway.start()
    assert alone.gateway.call("echo", ECHO, before["bot"]).status == 401
    assert alone.gateway.call("echo", ECHO, before["desk"]).status == 200
    after = alone.bot()
    assert alone.gateway.call("echo", ECHO, after).status == 200
    # The same owner at the next start: nothing ends.
    assert alone.gateway.end() == 0
    alone.gateway.start()
    assert alone.gateway.call("echo", ECHO, after).status == 200


def test_a_clash_with_the_file_is_told_when_it_comes_about_and_not_again(alone: Estate) -> None:
    section = {"owner": "mona", "purpose": "checks", "ceiling": CEILING}
    alone.act("/agents/add", name="twin", section=section)
    alone.act("/clients/add", name="pipeline", redirect_uris=["https://rs.example/cb"], confidential=False)
    assert readiness(alone)["registry"] == {"ok": True, "problems": []}
    alone.declare("twin", owner="mona")
    workload = {"federated": {"preset": "github-actions", "subject": "repo:acme/app:ref:refs/heads/main"}}
    alone.declare("pipeline", owner="mona", credentials=[workload])
    told = wait_until(lambda: readiness(alone)["registry"]["problems"][1:], what="both clashes")
    assert "clients.pipeline" in told[0]
    assert readiness(alone)["config"]["ok"] is True
    alone.act("/clients/remove", id="pipeline")
    alone.act("/agents/remove", name="twin")
    assert readiness(alone)["registry"] == {"ok": True, "problems": []}
    log = alone.gateway.log()
    assert [log.count(place) for place in ("agents.twin: ", "clients.pipeline: ")] == [1, 1]


def test_streams_end_when_an_agent_does(alone: Estate) -> None:
    """What waits for nobody's look: its tokens are refused in that second, and its streams end within two more."""
    ends = int(time.time()) + 4
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ends))
    section = {"owner": "mona", "purpose": "checks", "ceiling": CEILING, "expires": moment}
    alone.act("/agents/add", name="brief", section=section)
    token = alone.bot("brief")
    session = Caller.arrive(alone.gateway, token, "session")
    with session.listen() as feed:
        assert feed.rest() == []
        assert ends - 1 <= time.time() < ends + 5


def test_requests_are_in_the_listing_at_once_and_outlive_a_stop(alone: Estate) -> None:
    def last() -> Any:
        listed = alone.gateway.run_json("agents", "show", "desk", "--config", str(alone.gateway.file))
        return listed["last_request"]

    token, since = alone.bot("desk"), int(time.time())
    assert alone.gateway.call("echo", ECHO, token).status == 200
    assert last() >= since
    wait_until(lambda: int(time.time()) > last(), what="another second")
    since = int(time.time())
    assert alone.gateway.call("echo", ECHO, token).status == 200
    assert alone.gateway.end() == 0
    try:
        assert last() >= since
    finally:
        alone.gateway.start()
