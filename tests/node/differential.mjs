// A server on the official TypeScript SDK that writes down what it understood of each request: `PORT LOG` as words.
// Each line has the id of the gateway's decision, from the token that came with the call.
import { createWriteStream } from 'node:fs';
import { createServer } from 'node:http';
import { createMcpHandler, Server } from '@modelcontextprotocol/server';

const [port, file] = process.argv.slice(2);
const log = createWriteStream(file);

function understood(ctx, method, what) {
    const token = ctx.http.req.headers.get('authorization').split(' ')[1];
    const claims = JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString('utf8'));
    log.write(`${JSON.stringify({ decision: claims.jti, method, ...what })}\n`);
}

function build() {
    const capabilities = { tools: {}, prompts: {}, resources: {}, completions: {} };
    const server = new Server({ name: 'differential', version: '1' }, { capabilities });
    server.setRequestHandler('tools/call', ({ method, params }, ctx) => {
        understood(ctx, method, { tool: params.name, arguments: params.arguments ?? {} });
        return { content: [] };
    });
    server.setRequestHandler('prompts/get', ({ method, params }, ctx) => {
        understood(ctx, method, { prompt: params.name, arguments: params.arguments ?? {} });
        return { messages: [] };
    });
    server.setRequestHandler('resources/read', ({ method, params }, ctx) => {
        understood(ctx, method, { resource: params.uri });
        return { contents: [] };
    });
    server.setRequestHandler('completion/complete', ({ method, params }, ctx) => {
        const { ref } = params;
        understood(ctx, method, ref.type === 'ref/prompt' ? { prompt: ref.name } : { resource: ref.uri });
        return { completion: { values: [] } };
    });
    server.setRequestHandler('tools/list', ({ method }, ctx) => {
        understood(ctx, method, {});
        return { tools: [{ name: 'echo', inputSchema: { type: 'object' } }] };
    });
    return server;
}

const handler = createMcpHandler(build, { onerror: () => {} });

createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    const headers = new Headers();
    for (let at = 0; at < request.rawHeaders.length; at += 2) headers.append(request.rawHeaders[at], request.rawHeaders[at + 1]);
    const body = parts.length ? Buffer.concat(parts) : undefined;
    const asked = new Request(`http://127.0.0.1:${port}${request.url}`, { method: request.method, headers, body });
    const answer = await handler.fetch(asked);
    response.writeHead(answer.status, Object.fromEntries(answer.headers));
    if (answer.body) for await (const part of answer.body) response.write(part);
    response.end();
}).listen(Number(port), '127.0.0.1', () => console.log('ready'));

process.on('SIGTERM', () => log.end(() => process.exit(0)));
