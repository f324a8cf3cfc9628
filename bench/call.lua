-- One authorised `tools/call` of `echo` after another, no two with the same id or arguments.
-- BENCH_TOKEN and BENCH_REVISION come by the environment, so that a token is in no list of processes.
-- Requests are put together here and not by wrk.format, which costs several times as much.

local revision = os.getenv("BENCH_REVISION")
local stateless = revision == "2026-07-28"
local meta = ""
if stateless then
  meta = ',"_meta":{"io.modelcontextprotocol/protocolVersion":"' .. revision .. '",'
    .. '"io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1"},'
    .. '"io.modelcontextprotocol/clientCapabilities":{}}'
end

local threads, head = {}, nil
sent = 0 -- global: read from each thread at the end

function setup(thread)
  table.insert(threads, thread)
end

function init()
  local lines = {
    "POST " .. wrk.path .. " HTTP/1.1",
    "Host: " .. wrk.headers["Host"],
    "Authorization: Bearer " .. os.getenv("BENCH_TOKEN"),
    "Accept: application/json, text/event-stream",
    "MCP-Protocol-Version: " .. revision,
    "Content-Type: application/json",
    "Content-Length: ",
  }
  if stateless then
    table.insert(lines, 4, "Mcp-Method: tools/call\r\nMcp-Name: echo")
  end
  head = table.concat(lines, "\r\n")
end

function request()
  sent = sent + 1
  local body = '{"jsonrpc":"2.0","id":' .. sent .. ',"method":"tools/call","params":{"name":"echo","arguments":{"text":"line '
    .. sent .. ' of the report"}' .. meta .. "}}"
  return head .. #body .. "\r\n\r\n" .. body
end

function done(summary, latency)
  local total = 0
  for _, thread in ipairs(threads) do
    total = total + thread:get("sent")
  end
  local failed = summary.errors
  io.write(string.format(
    '\nBENCH {"answered": %d, "sent": %d, "seconds": %.6f, "p50_ms": %.4f, "p99_ms": %.4f, "refused": %d, "broken": %d}\n',
    summary.requests, total, summary.duration / 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    failed.status, failed.connect + failed.read + failed.write + failed.timeout))
end
