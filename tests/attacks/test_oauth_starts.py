"""What nothing starts with (M05): secrets that are none, and switches for trying out where others come."""

import base64
import json
import secrets
from pathlib import Path
from typing import Any

import pytest
from tests.kit.gateway import as_yaml, settings
from tests.kit.issuer import Issuer
from tests.kit.pki import Authority

from ostiary import keys
from ostiary.config import load
from ostiary.errors import OstiaryError
from ostiary.store import Store, StorePath

CASES = json.loads((Path(__file__).parent / "oauth" / "starts.json").read_text())
PROVIDER = {"issuer": "http://127.0.0.1:1", "client_id": "ostiary", "client_secret": "env:OIDC_SECRET"}


def start(file: Path) -> None:
    """Read the configuration and open the store, as a gateway does first; raises what it would end with."""
    config = load(file)
    with Store.open(StorePath.from_url(config.store.url, file.parent), key=config.store.key, base=file.parent) as store:
        keys.ensure_key(store, now=1_800_000_000)


def changed(config: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with other values, each at the path of its key."""
    for path, value in changes.items():
        *way, name = path.split(".")
        section = config
        for part in way:
            section = section[part]
        section[name] = value
    return config


@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in CASES])
def test_a_gateway_does_not_start_with_it(
    case: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer, authority, file = Issuer(), Authority(), tmp_path / "ostiary.yaml"
    issuer.write(tmp_path / "jwks.json")
    authority.pair().write(tmp_path)
    config = settings({"notes": "http://127.0.0.1:9/mcp"}, issuer, listen=8811, admin=8812)
    config["identity"]["providers"] = {"sso": dict(PROVIDER)}
    config["oauth"] = {"danger_loopback_clients": True, "ca_file": "cert.pem"}
    file.write_text(as_yaml(config))
    start(file)  # the twin of them all
    key = tmp_path / "var" / "ostiary.db.key"
    if "mode" in case:
        key.chmod(int(case["mode"], 8))
    if "key" in case:
        key.write_text(case["key"].replace("$ANOTHER", base64.b64encode(secrets.token_bytes(32)).decode()))
    for name, value in case.get("env", {}).items():
        monkeypatch.setenv(name, value)
    file.write_text(as_yaml(changed(config, case.get("set", {}))))
    with pytest.raises(OstiaryError) as refused:
        start(file)
    text = str(refused.value)
    assert case["must"]["says"] in text
    assert [value for value in case.get("env", {}).values() if value and value in text] == []
