// The tour by the official TypeScript client, unmodified. Reads the plan (tests/kit/tours/plan.py) from standard input
// and prints what the program was told, step by step, as one JSON object.
import { Client, LOG_LEVEL_META_KEY, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

async function readPlan() {
    const parts = [];
    for await (const part of process.stdin) parts.push(part);
    return JSON.parse(Buffer.concat(parts).toString('utf8'));
}

const PATIENCE_MS = 10_000;
const STEP_MS = 250;
const plan = await readPlan();
const stateless = plan.era === 'stateless';
const asked = [];
const noted = [];
const logs = [];

const client = new Client(
    { name: 'tourist', version: '1' },
    {
        capabilities: { sampling: {}, elicitation: { form: {}, url: {} }, roots: {} },
        ...(stateless ? { versionNegotiation: { mode: 'auto' } } : {}),
    },
);
client.setRequestHandler('sampling/createMessage', ({ params }) => {
    asked.push(`sampling ${[params.messages[0].content].flat()[0].text}`);
    return plan.answers['sampling/createMessage'];
});
client.setRequestHandler('elicitation/create', ({ params }) => {
    const visit = params.mode === 'url';
    asked.push(visit ? `visit ${params.url}` : `form ${params.message}`);
    return visit ? { action: 'accept' } : plan.answers['elicitation/create'];
});
client.setRequestHandler('roots/list', () => {
    asked.push('roots');
    return plan.answers['roots/list'];
});
client.setNotificationHandler('notifications/message', ({ params }) => void logs.push([params.level, params.data]));
for (const word of ['tools/list_changed', 'prompts/list_changed', 'resources/updated'])
    client.setNotificationHandler(`notifications/${word}`, ({ params }) =>
        void noted.push(params?.uri ? `${word} ${params.uri}` : word),
    );

// The result, or the error as the program sees it; of a refusal of ours only what is stable.
async function told(work) {
    try {
        return await work();
    } catch (error) {
        if (error.data?.decision) return { refused: error.code, reason: error.data.reason };
        return { error: error.code ?? error.constructor.name, message: error.message };
    }
}

async function soon(found, within = STEP_MS) {
    for (const end = Date.now() + within; Date.now() < end && !found(); ) await new Promise(go => setTimeout(go, 10));
    return found();
}

// A notification that is sent before the stream for it is open is lost by design: call until it came.
async function untilTold(tool, came) {
    for (let left = PATIENCE_MS / STEP_MS; left > 0; left--) {
        await told(() => client.callTool({ name: tool, arguments: {} }));
        if (await soon(came)) return true;
    }
    return false;
}

async function changesBySession() {
    const out = { subscribed: await told(() => client.subscribeResource({ uri: plan.watched })) };
    for (const [tool, word] of Object.entries(plan.changes)) out[word] = await untilTold(tool, () => noted.includes(word));
    if (!out.subscribed.refused)
        out.updated = await untilTold('touch', () => noted.includes(`resources/updated ${plan.watched}`));
    out.unsubscribed = await told(() => client.unsubscribeResource({ uri: plan.watched }));
    return out;
}

async function changesByListening() {
    const filter = { toolsListChanged: true, promptsListChanged: true, resourceSubscriptions: [plan.watched] };
    const stream = await client.listen(filter);
    noted.length = 0;
    for (const tool of [...Object.keys(plan.changes), 'touch']) {
        const before = noted.length;
        await told(() => client.callTool({ name: tool, arguments: {} }));
        await soon(() => noted.length > before, 1000);
    }
    await stream.close();
    return { honoured: stream.honoredFilter, heard: [...noted] };
}

async function giveUp() {
    const left = async () => Number((await client.callTool({ name: 'left', arguments: {} })).structuredContent.result);
    const before = await told(left);
    if (typeof before !== 'number') return before;
    const stop = new AbortController();
    const call = client.callTool(
        { name: 'wait', arguments: {} },
        { signal: stop.signal, onprogress: () => stop.abort('enough') },
    );
    await call.catch(() => {});
    for (const end = Date.now() + PATIENCE_MS; Date.now() < end; ) {
        const now = await left();
        if (now !== before) return now - before;
        await new Promise(go => setTimeout(go, 50));
    }
    return 'the server did not notice';
}

const headers = plan.token ? { Authorization: `Bearer ${plan.token}` } : {};
await client.connect(new StreamableHTTPClientTransport(new URL(plan.url), { requestInit: { headers } }));
const out = { era: client.getNegotiatedProtocolVersion(), server: client.getServerVersion(), can: client.getServerCapabilities() };
out.tools = await told(() => client.listTools());
out.resources = await told(() => client.listResources());
out.templates = await told(() => client.listResourceTemplates());
out.prompts = await told(() => client.listPrompts());
if (!stateless) out['set level'] = await told(() => client.setLoggingLevel('info'));
for (const [name, given] of plan.calls) {
    const steps = [];
    const params = { name, arguments: given };
    if (stateless && name.endsWith('logging')) params._meta = { [LOG_LEVEL_META_KEY]: 'info' };
    const gave = await told(() => client.callTool(params, { onprogress: step => void steps.push(step) }));
    out[`call ${name}`] = { gave, progress: steps };
}
await soon(() => logs.length >= 3, PATIENCE_MS);
for (const uri of plan.reads) out[`read ${uri}`] = await told(() => client.readResource({ uri }));
for (const [name, given] of plan.prompts) out[`prompt ${name}`] = await told(() => client.getPrompt({ name, arguments: given }));
for (const [ref, argument] of plan.completions)
    out[`complete ${Object.values(ref).sort()}`] = await told(() => client.complete({ ref, argument }));
out.changes = stateless ? await changesByListening() : await changesBySession();
out['gave up'] = await giveUp();
await client.close();
console.log(JSON.stringify({ ...out, asked, logs }));
