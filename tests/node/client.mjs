// One visit with the official TypeScript client, unmodified: list the tools, make each call, print what was told.
// Reads {url, token, era, calls: [{name, arguments}]} from standard input.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

async function readTask() {
    const parts = [];
    for await (const part of process.stdin) parts.push(part);
    return JSON.parse(Buffer.concat(parts).toString('utf8'));
}

const { url, token, era, calls } = await readTask();
const options = era === 'stateless' ? { versionNegotiation: { mode: 'auto' } } : {};
const client = new Client({ name: 'typescript-visitor', version: '1' }, options);
const headers = token ? { Authorization: `Bearer ${token}` } : {};
const transport = new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } });
await client.connect(transport);

const tools = (await client.listTools()).tools.map(tool => tool.name);
const answers = [];
for (const { name, arguments: given } of calls) {
    try {
        const result = await client.callTool({ name, arguments: given });
        answers.push({ text: result.content[0].text, error: result.isError ?? false });
    } catch (refused) {
        answers.push({ kind: refused.constructor.name, code: refused.code, message: refused.message, data: refused.data });
    }
}
const spoken = client.getNegotiatedProtocolVersion();
await client.close();
console.log(JSON.stringify({ era: spoken === '2026-07-28' ? 'stateless' : 'session', tools, answers }));
