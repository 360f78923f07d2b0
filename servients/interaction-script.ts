/** Scripted tests of interactions with Things (docs/interaction-tests.md): parsed, and run step by step. */
import { Ajv } from 'ajv';
import { SetupError, VerificationError } from '../crypto/errors.js';
import { describeErrors } from '../td/schema-errors.js';
import { scriptSchema } from './interaction-schema.js';
import { interact, interactionKinds, watch, type InteractionKind, type Watched } from './interaction.js';

type Values = Readonly<Record<string, unknown>>;

/** What the schema lets a step be. */
type Step = {
  readonly [kind in InteractionKind]?: string;
} & {
  readonly thing?: string;
  readonly wait?: string;
  readonly input?: unknown;
  readonly expect?: unknown;
  readonly refused?: unknown;
  readonly save?: string;
  readonly as?: string;
  readonly timeoutMs?: number;
};

export interface InteractionScript {
  readonly title: string;
  /** Ids of Things, by the names that steps have for them. */
  readonly things: Readonly<Record<string, string>>;
  readonly steps: readonly Step[];
}

export interface ScriptOptions {
  /** Discovers and consumes. */
  readonly thing: (id: string) => Promise<WoT.ConsumedThing>;
  /** For `${name}` in the script. */
  readonly values?: Values;
  /** For each step that does not say itself. */
  readonly timeoutMs?: number;
  /** Hears of each step that is done. */
  readonly onStep?: (step: StepDone) => void;
}

export interface StepDone {
  readonly step: number;
  readonly what: string;
  readonly value: unknown;
}

const defaultTimeoutMs = 10_000;

/** @throws SetupError `script-invalid`, with what is wrong where */
export function parseScript(script: unknown): InteractionScript {
  const isScript = new Ajv({ allErrors: true }).compile<InteractionScript>(scriptSchema);
  if (isScript(script)) return script;
  const wrong = describeErrors(isScript.errors ?? []).map(({ field, description }) => `${field} ${description}`);
  throw new SetupError('script-invalid', `no script of interactions: ${wrong.join('; ')}`);
}

/**
 * Runs the steps one after the other.
 * @throws VerificationError `step-failed` at the first that does not come out as the script says, with what came out
 */
export async function runScript(script: InteractionScript, options: ScriptOptions): Promise<readonly StepDone[]> {
  const run = new ScriptRun(script, options);
  const done: StepDone[] = [];
  try {
    for (const [i, step] of script.steps.entries()) {
      done.push(await run.step(i + 1, step));
      options.onStep?.(done[i] as StepDone);
    }
  } finally {
    await run.end();
  }
  return done;
}

class ScriptRun {
  readonly #script: InteractionScript;
  readonly #options: ScriptOptions;
  readonly #values: Map<string, unknown>;
  readonly #watched = new Map<string, Watched>();

  constructor(script: InteractionScript, options: ScriptOptions) {
    this.#script = script;
    this.#options = options;
    this.#values = new Map(Object.entries(options.values ?? {}));
  }

  async step(number: number, step: Step): Promise<StepDone> {
    const what = nameOf(step);
    const timeoutMs = step.timeoutMs ?? this.#options.timeoutMs ?? defaultTimeoutMs;
    const value = await this.#outcome(step, timeoutMs).catch((error: unknown) => {
      throw failed(number, what, error instanceof Error ? error.message : String(error), error);
    });
    if (step.save !== undefined) this.#values.set(step.save, value);
    return { step: number, what, value };
  }

  async end(): Promise<void> {
    await Promise.allSettled([...this.#watched.values()].map((each) => each.stop()));
  }

  async #outcome(step: Step, timeoutMs: number): Promise<unknown> {
    if (step.wait !== undefined) return this.#waitFor(step, this.#watchOf(step.wait), timeoutMs);
    const thing = await this.#options.thing(this.#idOf(step.thing ?? ''));
    const kind = kindOf(step);
    const name = step[kind] ?? '';
    if (kind === 'observe' || kind === 'subscribe') {
      const watched = await watch(thing, { kind, name }, timeoutMs);
      this.#watched.set(step.as ?? name, watched);
      return step.expect === undefined ? undefined : this.#waitFor(step, watched, timeoutMs);
    }
    const input = this.#filled(step.input);
    const asked = interact(thing, { kind, name, input }, timeoutMs);
    const value = step.refused === undefined ? await asked : await this.#refusal(asked, step.refused);
    if (step.expect !== undefined) assertFits(value, this.#filled(step.expect));
    return value;
  }

  /** Values that do not fit are passed over: others may change the Thing as well. */
  async #waitFor(step: Step, watched: Watched, timeoutMs: number): Promise<unknown> {
    const expected = this.#filled(step.expect);
    const endMs = performance.now() + timeoutMs;
    for (let last: unknown; ;) {
      const value = await watched.next(Math.max(1, endMs - performance.now())).catch((error: unknown) => {
        const seen = last === undefined ? 'nothing' : JSON.stringify(last);
        throw new VerificationError('step-failed', `${String(error)}; last came ${seen}`, error);
      });
      if (expected === undefined || misfit(value, expected, '') === undefined) return value;
      last = value;
    }
  }

  async #refusal(asked: Promise<unknown>, expected: unknown): Promise<unknown> {
    const refusal = await asked.then(
      (value) => {
        throw new VerificationError('step-failed', `was not refused, but answered ${JSON.stringify(value)}`);
      },
      (error: unknown) => {
        const { message, code, status } = error as { readonly [name in 'message' | 'code' | 'status']?: unknown };
        return { message, code, status };
      },
    );
    assertFits(refusal, this.#filled(expected));
    return refusal;
  }

  #idOf(name: string): string {
    const id = this.#script.things[name];
    if (id === undefined) throw new SetupError('script-invalid', `"things" has no ${name}`);
    return String(this.#filled(id));
  }

  #watchOf(name: string): Watched {
    const watched = this.#watched.get(name);
    if (!watched) throw new SetupError('script-invalid', `nothing was observed or subscribed to as ${name} before`);
    return watched;
  }

  /** A text that is `${name}` alone becomes the value; within a longer one, its text. */
  #filled(value: unknown): unknown {
    if (typeof value === 'string') {
      const whole = /^\$\{([\w-]+)\}$/.exec(value)?.[1];
      if (whole !== undefined) return this.#valueOf(whole);
      return value.replace(/\$\{([\w-]+)\}/g, (_, name: string) => String(this.#valueOf(name)));
    }
    if (Array.isArray(value)) return value.map((item) => this.#filled(item));
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, this.#filled(inner)]));
  }

  #valueOf(name: string): unknown {
    if (!this.#values.has(name)) throw new SetupError('script-invalid', `no value for \${${name}}: --set ${name}=…`);
    return this.#values.get(name);
  }
}

/** The schema lets a step have one. */
const kindOf = (step: Step): InteractionKind => interactionKinds.find((kind) => step[kind] !== undefined) ?? 'read';

const nameOf = (step: Step): string =>
  step.wait === undefined ? `${kindOf(step)} ${step.thing ?? ''}.${step[kindOf(step)] ?? ''}` : `wait ${step.wait}`;

const failed = (number: number, what: string, why: string, cause: unknown): VerificationError =>
  new VerificationError('step-failed', `step ${number}, ${what}: ${why}`, cause);

function assertFits(value: unknown, expected: unknown): void {
  const wrong = misfit(value, expected, '');
  if (wrong !== undefined) throw new VerificationError('step-failed', wrong);
}

/** Objects may have more members than are expected; all else is equal. */
function misfit(value: unknown, expected: unknown, path: string): string | undefined {
  if (typeof expected !== 'object' || expected === null) {
    if (Object.is(value, expected)) return undefined;
    return `${path === '' ? 'the answer' : path.slice(1)} is ${JSON.stringify(value)}, not ${JSON.stringify(expected)}`;
  }
  if (Array.isArray(expected) && (!Array.isArray(value) || value.length !== expected.length)) {
    return `${path.slice(1) || 'the answer'} is ${JSON.stringify(value)}, not an array of ${expected.length}`;
  }
  for (const [name, inner] of Object.entries(expected)) {
    const wrong = misfit((value as Values | null | undefined)?.[name], inner, `${path}.${name}`);
    if (wrong !== undefined) return wrong;
  }
  return undefined;
}
