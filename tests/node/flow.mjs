// The official TypeScript client, from the first 401 to tool calls, with the SDK's own sign-in. See talk.mjs.
import { Client, StreamableHTTPClientTransport, UnauthorizedError } from '@modelcontextprotocol/client';
import { hear, Keeper, serve, unlessDenied } from './talk.mjs';

class Provider extends Keeper {
    discoveryState() {
        return this.discovered;
    }

    saveDiscoveryState(state) {
        this.discovered = state;
    }
}

const task = await hear();
const provider = new Provider({ ...task, name: "Kit's TypeScript client" });
const options = task.era === 'stateless' ? { versionNegotiation: { mode: 'auto' } } : {};

async function connect() {
    const client = new Client({ name: 'typescript-visitor', version: '1' }, options);
    const transport = new StreamableHTTPClientTransport(new URL(task.url), { authProvider: provider });
    try {
        await client.connect(transport);
    } catch (error) {
        if (!(error instanceof UnauthorizedError)) throw error;
        await transport.finishAuth(new URLSearchParams(provider.take()));
        await transport.close();
        return connect();
    }
    return { client, transport };
}

const { client, transport } = await unlessDenied(connect());

async function call(name, given) {
    try {
        const result = await client.callTool({ name, arguments: given });
        return { text: result.content[0].text, error: result.isError ?? false };
    } catch (refused) {
        if (refused instanceof UnauthorizedError) {
            await transport.finishAuth(new URLSearchParams(provider.take()));
            return call(name, given);
        }
        return { kind: refused.constructor.name, code: refused.code, message: refused.message, data: refused.data };
    }
}

const tools = (await client.listTools()).tools.map(tool => tool.name);
await serve(provider, { tools, call, end: () => client.close() });
