// What the programs that sign in have in common: a talk with the test in lines of JSON, and what a client keeps.
// The test plays the browser: `visit(url)` gives the query that came to the redirect URI.
import { createHash, randomUUID } from 'node:crypto';
import { createInterface } from 'node:readline';

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

export function say(told) {
    process.stdout.write(`${JSON.stringify(told)}\n`);
}

export async function hear() {
    const { value, done } = await lines.next();
    return done ? { end: true } : JSON.parse(value);
}

async function visit(url) {
    say({ visit: String(url) });
    return (await hear()).came;
}

/** The person, or the gateway for her, said no. */
export class Denied extends Error {}

/** What both libraries ask of an OAuth client: where it keeps its registration, its tokens and what it is about to do. */
export class Keeper {
    constructor({ redirect, document, keeps, url, name }) {
        Object.assign(this, { redirect, keeps, url, name, clientMetadataUrl: document ?? undefined });
        this.verifiers = new Map();
    }

    get redirectUrl() {
        return this.redirect;
    }

    get clientMetadata() {
        return { client_name: this.name, redirect_uris: [this.redirect] };
    }

    clientInformation() {
        return this.keeps.client;
    }

    saveClientInformation(client) {
        this.keeps.client = client;
    }

    tokens() {
        return this.keeps[this.url];
    }

    saveTokens(tokens) {
        this.keeps[this.url] = tokens;
    }

    state() {
        return randomUUID();
    }

    saveCodeVerifier(verifier) {
        this.verifiers.set(createHash('sha256').update(verifier).digest('base64url'), verifier);
    }

    codeVerifier() {
        return this.verifier;
    }

    invalidateCredentials(kind) {
        if (kind !== 'verifier') delete this.keeps[this.url];
        if (kind === 'all' || kind === 'client') delete this.keeps.client;
    }

    /** One at a time: where a call and a stream are refused at once, the SDK asks for both, and a person sees one page. */
    async redirectToAuthorization(url) {
        if (this.came === undefined) this.visiting ??= this.goes(new URL(url).searchParams, url);
        await this.visiting;
    }

    async goes(asked, url) {
        this.came = await visit(url);
        this.verifier = this.verifiers.get(asked.get('code_challenge'));
        this.expected = asked.get('state');
        this.visiting = undefined;
    }

    /** The query that came back from the browser, once. */
    take() {
        const came = this.came;
        this.came = undefined;
        if (came?.error) throw new Denied(came.error);
        if (came && came.state !== this.expected) throw new Error('the state is not the one that was sent');
        return came;
    }

    /** Let the access token be of no more use. */
    stale() {
        this.keeps[this.url] = { ...this.keeps[this.url], access_token: 'stale' };
    }
}

/** Does what the test asks, until it says that this is the end. `call` may sign in again. */
export async function serve(keeper, { tools, call, end }) {
    say({ ready: tools });
    for (;;) {
        const asked = await hear();
        if (asked.end) break;
        if (asked.stale) {
            keeper.stale();
            say({ stale: true });
            continue;
        }
        try {
            say({ answer: await call(asked.call, asked.arguments) });
        } catch (error) {
            if (!(error instanceof Denied)) throw error;
            say({ denied: error.message });
        }
    }
    await end();
    say({ keeps: keeper.keeps });
    process.exit(0);
}

/** Ends the program with what the person said, if that is why it cannot go on. */
export async function unlessDenied(doing) {
    try {
        return await doing;
    } catch (error) {
        if (!(error instanceof Denied)) throw error;
        say({ denied: error.message });
        process.exit(0);
    }
}
