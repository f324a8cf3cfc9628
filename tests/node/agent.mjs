// A host of the AI SDK (`ai` with `@ai-sdk/mcp`, which has an OAuth client of its own) with a stub for a model. A call is
// one whole run of the agent: the model asks for the tool, is told what came of it, and says that. See talk.mjs.
// Its client knows no step-up. It tells the host what was refused and what would help, and the host asks its user.
import { auth, createMCPClient, UnauthorizedError } from '@ai-sdk/mcp';
import { generateText, isStepCount } from 'ai';
import { MockLanguageModelV4 } from 'ai/test';
import { hear, Keeper, serve, unlessDenied } from './talk.mjs';

class Provider extends Keeper {
    constructor(told) {
        super(told);
        if (this.clientMetadataUrl) this.keeps.client ??= { client_id: this.clientMetadataUrl };
    }

    authorizationServerInformation() {
        return this.keeps.issuer;
    }

    saveAuthorizationServerInformation(issuer) {
        this.keeps.issuer = issuer;
    }

    isClientInformationDynamicallyRegistered() {
        return this.clientMetadataUrl === undefined;
    }
}

const task = await hear();
const provider = new Provider({ ...task, name: "Kit's AI SDK host" });
const usage = { inputTokens: { total: 1 }, outputTokens: { total: 1 } };

async function signIn(scope) {
    const asked = { serverUrl: task.url, scope };
    if ((await auth(provider, asked)) !== 'REDIRECT') return;
    await finish();
}

async function finish() {
    const { code, state, iss } = provider.take();
    await auth(provider, { serverUrl: task.url, authorizationCode: code, callbackState: state, callbackIssuer: iss });
}

async function connect() {
    try {
        return await createMCPClient({
            transport: { type: 'http', url: task.url, authProvider: provider },
            protocolVersionDiscovery: task.era === 'stateless',
        });
    } catch (error) {
        if (!(error instanceof UnauthorizedError)) throw error;
        await finish();
        return connect();
    }
}

/** A model that asks for one tool, and ends when it has been told what came of it. */
function model(name, given) {
    return new MockLanguageModelV4({
        doGenerate: [
            {
                content: [{ type: 'tool-call', toolCallId: 'one', toolName: name, input: JSON.stringify(given) }],
                finishReason: { unified: 'tool-calls' },
                usage,
                warnings: [],
            },
            { content: [{ type: 'text', text: 'done' }], finishReason: { unified: 'stop' }, usage, warnings: [] },
        ],
    });
}

const client = await unlessDenied(connect());
const tools = await client.tools();

async function call(name, given) {
    const run = await generateText({ model: model(name, given), tools, prompt: 'go', stopWhen: isStepCount(2) });
    const told = run.steps.flatMap(step => step.content).find(part => part.type.startsWith('tool-') && part.type !== 'tool-call');
    if (told.type === 'tool-result') return { text: told.output.content[0].text, error: told.output.isError ?? false };
    const error = told.error.cause instanceof UnauthorizedError ? told.error.cause : told.error;
    if (error instanceof UnauthorizedError) {
        await finish();
        return call(name, given);
    }
    const remedy = error.data?.remedy;
    if (remedy?.kind === 'scope') {
        const held = provider.tokens().scope?.split(' ') ?? [];
        provider.invalidateCredentials('tokens');
        await signIn([...new Set([...held, ...remedy.scopes])].join(' '));
        return call(name, given);
    }
    return { code: error.code, message: error.message, data: error.data };
}

await serve(provider, { tools: Object.keys(tools), call, end: () => client.close() });
