/** The thread that searches: it holds the Things, and may be ended at any moment. */
import { parentPort, workerData } from 'node:worker_threads';
import { makeEvaluator, UnsupportedQuery } from './evaluate.js';
import { searchMaxima, type FromWorker, type Language, type ToWorker } from './messages.js';

const { language } = workerData as { readonly language: Language };
const evaluator = makeEvaluator(language);

async function answer(message: ToWorker): Promise<FromWorker> {
  const { put, drop, evaluate } = await evaluator;
  switch (message.kind) {
    case 'start':
      return { kind: 'done' };
    case 'put': {
      const quads = await put(message.thing);
      return { kind: 'done', ...(quads !== undefined && { quads }) };
    }
    case 'drop':
      drop(message.id);
      return { kind: 'done' };
    case 'query': {
      const { body, graph } = await evaluate(message.query, message.ids);
      if (body.length <= searchMaxima.result) return { kind: 'found', body, graph };
      return { kind: 'failed', code: 'query-too-costly', message: 'the result is too large: ask for less' };
    }
  }
}

/** What libraries say of a query, without what they say of themselves. */
const firstLine = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).split('\n')[0]?.slice(0, 300) ?? '';

// One after the other: whoever asks waits for each answer.
parentPort?.on('message', (message: ToWorker) => {
  answer(message)
    .catch((error: unknown): FromWorker => {
      const code = error instanceof UnsupportedQuery ? 'query-unsupported' : 'query-malformed';
      return { kind: 'failed', code, message: firstLine(error) };
    })
    .then((reply) => {
      parentPort?.postMessage(reply);
    })
    .catch(() => undefined);
});
