/** `gridring things consume` and `things test`: interactions with a Thing that is found in a directory, by hand and scripted. */
import { Argument, type Command } from 'commander';
import {
  interact,
  interactionKinds,
  parseInput,
  watch,
  type Interaction,
  type InteractionKind,
} from '../interaction.js';
import { parseScript, runScript } from '../interaction-script.js';
import { readText } from '../identity-files.js';
import { withWot } from '../with-wot.js';
import { loginAt } from './authorized-fetch.js';
import { defaultDirectory, directoryAt, rootHelp, urnOf } from './directory-options.js';
import { baseUrl, collect, durationOption, wholeNumber } from './options.js';
import { printJson, printLine } from './output.js';

interface Common {
  readonly directory: string;
  readonly root?: string;
  readonly timeout?: number;
  readonly json?: true;
}

interface ConsumeOptions extends Common {
  readonly input?: string;
  readonly count?: number;
}

interface TestOptions extends Common {
  readonly set?: readonly string[];
}

const answerWithinS = 10;
/** What a timer can wait at most. */
const longestMs = 2 ** 31 - 1;

const withCommon = (command: Command): Command =>
  command
    .option('--directory <url>', 'the directory', baseUrl, defaultDirectory)
    .option('--root <file>', rootHelp)
    .option('--timeout <time>', `for how long an answer is waited for (default: ${answerWithinS}s)`, durationOption)
    .option('--json', 'print JSON, on one line each');

export function addConsume(things: Command): void {
  withCommon(
    things
      .command('consume')
      .description('read, write, invoke, observe or subscribe to what the description of a Thing offers')
      .argument('<id>', 'the Thing; a name alone is that of a meter')
      .addArgument(new Argument('<interaction>').choices(interactionKinds))
      .argument('<name>', 'of the property, action or event')
      .option('--input <json>', 'what is written, or what the action gets')
      .option(
        '--count <n>',
        'end after so many values; else it goes on until it is stopped',
        wholeNumber(1, 1_000_000),
      ),
  )
    .addHelpText(
      'after',
      `
Who is logged in at the directory's server ("gridring login") is known to it and to the Things that it serves.

Examples:
  gridring things consume meter-01 read keyStatus
  gridring things consume meter-01 observe keyStatus --count 3
  gridring things consume urn:gridring:gateway:gateway invoke rekey --input '{"message":"…"}'`,
    )
    .action(consume);
}

async function consume(id: string, kind: InteractionKind, name: string, options: ConsumeOptions): Promise<void> {
  const { directory, root, input } = options;
  const interaction = { kind, name, ...(input !== undefined && { input: parseInput(input) }) };
  const td = await directoryAt(directory, root).thing(urnOf(id));
  const answerMs = (options.timeout ?? answerWithinS) * 1_000;
  const { authorize } = loginAt(directory);
  await withWot(answerMs, async (wot) => act(await wot.consume(td), interaction, options, answerMs), authorize);
}

async function act(
  thing: WoT.ConsumedThing,
  { kind, name, input }: Interaction,
  { count = Infinity, timeout, json }: ConsumeOptions,
  answerMs: number,
): Promise<void> {
  const print = (value: unknown): void => {
    if (json) printJson(value);
    else printLine(JSON.stringify(value, null, 2));
  };
  if (kind !== 'observe' && kind !== 'subscribe') {
    const value = await interact(thing, { kind, name, input }, answerMs);
    if (value !== undefined) print(value);
    return;
  }
  const watched = await watch(thing, { kind, name }, answerMs);
  const waitMs = timeout === undefined ? longestMs : timeout * 1_000;
  for (let i = 0; i < count; i++) print(await watched.next(waitMs));
  await watched.stop();
}

export function addInteractionTest(things: Command): void {
  withCommon(
    things
      .command('test')
      .description('run a scripted test of interactions: docs/interaction-tests.md')
      .argument('<script>', 'a JSON file')
      .option('--set <name=value>', 'a value that the script asks for; JSON, or else text', collect),
  ).action(test);
}

async function test(file: string, { directory, root, set = [], timeout, json }: TestOptions): Promise<void> {
  const script = parseScript(parseInput(readText(file, 'script')));
  const answerMs = (timeout ?? answerWithinS) * 1_000;
  const { authorize } = loginAt(directory);
  const client = directoryAt(directory, root);
  await withWot(
    answerMs,
    async (wot) => {
      const things = new Map<string, Promise<WoT.ConsumedThing>>();
      const consumed = (id: string): Promise<WoT.ConsumedThing> => {
        const thing = things.get(id) ?? client.thing(urnOf(id)).then((td) => wot.consume(td));
        things.set(id, thing);
        return thing;
      };
      const done = await runScript(script, {
        thing: consumed,
        values: Object.fromEntries(set.map(valueIn)),
        timeoutMs: answerMs,
        onStep: (step) => {
          if (json) printJson({ event: 'step', ...step });
          else printLine(`ok ${step.step}  ${step.what}`);
        },
      });
      if (json) printJson({ event: 'passed', title: script.title, steps: done.length });
      else printLine(`passed: ${script.title}`);
    },
    authorize,
  );
}

function valueIn(text: string): readonly [string, unknown] {
  const [, name = text, value = ''] = /^([^=]*)=(.*)$/s.exec(text) ?? [];
  try {
    return [name, JSON.parse(value) as unknown];
  } catch {
    return [name, value];
  }
}
