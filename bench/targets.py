"""What is measured: a bare nginx, Envoy bare, Envoy with JWT, MCP and RBAC filters, and the gateway.

Each is started on a port of its own, in front of the same upstream, and stopped at the end.
"""

import contextlib
import importlib.util
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from bench.identity import Identity, certificate
from bench.processes import accepts, answers_200, free_port, running, wait_until

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Target:
    """Something that listens: where to send calls, and the root of its process tree."""

    name: str
    url: str
    pid: int


@contextlib.contextmanager
def upstream(work: Path) -> Iterator[Target]:
    """The counting server that everything else stands in front of."""
    binary, log = work / "upstream", work / "upstream.log"
    source = HERE / "upstream.c"
    if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
        compiler = shutil.which("cc") or "gcc"
        with running([compiler, "-O2", "-o", binary, source], log=log) as build:
            if build.wait(timeout=60) != 0:
                raise RuntimeError(log.read_text())
    with running([binary, "0"], log=log) as process:
        wait_until(lambda: log.read_text().endswith("\n"), process, log)
        yield Target("upstream", f"http://127.0.0.1:{int(log.read_text())}/mcp", process.pid)


NGINX = """
worker_processes 1; daemon off; pid {work}/nginx.pid; error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 10000000;
  client_body_temp_path {work}/nginx-body; proxy_temp_path {work}/nginx-proxy; fastcgi_temp_path {work}/nginx-fastcgi;
  uwsgi_temp_path {work}/nginx-uwsgi; scgi_temp_path {work}/nginx-scgi;
  upstream mcp {{ server {upstream}; keepalive 128; keepalive_requests 10000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://mcp; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }}
  }}
}}
"""


def _authority(target: Target) -> str:
    return target.url.removeprefix("http://").partition("/")[0]


@contextlib.contextmanager
def nginx(work: Path, behind: Target) -> Iterator[Target]:
    """A bare reverse proxy: the floor."""
    port, config, log = free_port(), work / "nginx.conf", work / "nginx.log"
    config.write_text(NGINX.format(work=work, port=port, upstream=_authority(behind)))
    binary = shutil.which("nginx") or "/usr/sbin/nginx"
    with running([binary, "-e", "stderr", "-p", work, "-c", config], log=log) as process:
        wait_until(lambda: accepts(port), process, log)
        yield Target("nginx", f"http://127.0.0.1:{port}/mcp", process.pid)


def _typed(kind: str, **members: Any) -> dict[str, Any]:
    return {"@type": f"type.googleapis.com/envoy.extensions.filters.{kind}", **members}


def _http_filter(name: str, kind: str, **members: Any) -> dict[str, Any]:
    return {"name": f"envoy.filters.http.{name}", "typed_config": _typed(f"http.{name}.v3.{kind}", **members)}


def _says(filter_name: str, path: list[str], value: str) -> dict[str, Any]:
    """An RBAC condition: what an earlier filter noted under `path` equals `value`."""
    keys = [{"key": key} for key in path]
    return {
        "metadata": {
            "filter": f"envoy.filters.http.{filter_name}",
            "path": keys,
            "value": {"string_match": {"exact": value}},
        }
    }


def _authorising(identity: Identity) -> list[dict[str, Any]]:
    """Envoy's own way of checking a token and a tool: jwt_authn with its cache, mcp, rbac."""
    provider = {
        "issuer": identity.issuer,
        "audiences": [identity.audience],
        "local_jwks": {"inline_string": json.dumps(identity.jwks)},
        "forward": True,
        "jwt_cache_config": {"jwt_cache_size": 1000},
        "payload_in_metadata": "token",
    }
    call = [_says("mcp", ["method"], "tools/call"), _says("mcp", ["params", "name"], "echo")]
    policies = {
        "alice-may-echo": {
            "permissions": [{"and_rules": {"rules": call}}],
            "principals": [_says("jwt_authn", ["token", "sub"], identity.subject)],
        }
    }
    every = {"match": {"prefix": "/"}, "requires": {"provider_name": "idp"}}
    return [
        _http_filter("jwt_authn", "JwtAuthentication", providers={"idp": provider}, rules=[every]),
        _http_filter("mcp", "Mcp", traffic_mode="REJECT_NO_MCP"),
        _http_filter("rbac", "RBAC", rules={"action": "ALLOW", "policies": policies}),
    ]


def _envoy_config(port: int, behind: Target, filters: list[dict[str, Any]]) -> dict[str, Any]:
    host, _, up_port = _authority(behind).partition(":")
    manager = _typed(
        "network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="bench",
        http_filters=[*filters, _http_filter("router", "Router")],
        route_config={
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "up"}}]}
            ]
        },
    )
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}

    def at(port: int | str) -> dict[str, Any]:
        return {"address": {"socket_address": {"address": host, "port_value": int(port)}}}

    endpoints = {"cluster_name": "up", "endpoints": [{"lb_endpoints": [{"endpoint": at(up_port)}]}]}
    return {
        "static_resources": {
            "listeners": [{"name": "bench", **at(port), "filter_chains": [chain]}],
            "clusters": [{"name": "up", "type": "STATIC", "connect_timeout": "1s", "load_assignment": endpoints}],
        }
    }


@contextlib.contextmanager
def envoy(work: Path, behind: Target, identity: Identity | None) -> Iterator[Target]:
    """Envoy on one worker: bare, or authorising calls when it is told whom to trust."""
    name = "envoy jwt+mcp+rbac" if identity else "envoy"
    port, slug = free_port(), name.replace(" ", "-")
    config, log = work / f"{slug}.json", work / f"{slug}.log"
    config.write_text(json.dumps(_envoy_config(port, behind, _authorising(identity) if identity else [])))
    package = importlib.util.find_spec("envoy")
    if package is None or not package.submodule_search_locations:
        raise RuntimeError("Envoy comes with requirements/bench.txt, which `make bench` installs")
    binary = Path(package.submodule_search_locations[0]) / "_bin" / "envoy"
    options = ["--concurrency", "1", "--log-level", "warn", "--disable-hot-restart"]
    with running([binary, "-c", config, *options], log=log) as process:
        wait_until(lambda: accepts(port), process, log)
        yield Target(name, f"http://127.0.0.1:{port}/mcp", process.pid)


@contextlib.contextmanager
def gateway(
    work: Path,
    behind: Target,
    identity: Identity,
    *,
    name: str = "ostiary",
    command: Path | None = None,
    tls: bool = False,
) -> Iterator[Target]:
    """The installed release of this project, or another one's `command`, started as its users start it, records on."""
    folder, port, admin = work / name, free_port(), free_port()
    folder.mkdir()
    config, log, scheme = folder / "ostiary.yaml", folder / "ostiary.log", "https" if tls else "http"
    template = Template((HERE / "ostiary.yaml").read_text())
    door = ""
    if tls:
        certificate(folder)
        door = ", tls: {cert: cert.pem, key: key.pem}"
    filled = {"port": port, "admin": admin, "upstream": behind.url, "audience": identity.audience}
    config.write_text(template.substitute(filled, scheme=scheme, door=door))
    (folder / "jwks.json").write_text(json.dumps(identity.jwks))
    command = command or Path(sys.executable).with_name("ostiary")
    with running([command, "run", "--config", config], log=log) as process:
        wait_until(lambda: answers_200(f"http://127.0.0.1:{admin}/readyz"), process, log)
        yield Target(name, f"{scheme}://127.0.0.1:{port}/mcp/notes", process.pid)
