import type { Principal } from '../support/neighbourhood.js';
import type { TestBackend } from './rest-server.js';

export interface EventReader {
  readonly response: Response;
  /** Reads on until the text so far has it. */
  until(sought: string): Promise<string>;
  /** The text so far and all the rest, up to the end. */
  rest(): Promise<string>;
}

/** Opens an event stream of a backend in this process. */
export const listen = async (
  running: TestBackend,
  as: Principal,
  headers: Readonly<Record<string, string>> = {},
  resource = 'events',
): Promise<EventReader> =>
  readEvents(
    await running.request('GET', `/api/v1/${resource}`, { as, headers: { accept: 'text/event-stream', ...headers } }),
  );

export function readEvents(response: Response): EventReader {
  const reader = response.body!.getReader() as ReadableStreamDefaultReader<Uint8Array>;
  const decoder = new TextDecoder();
  let text = '';
  const more = async (): Promise<boolean> => {
    const { done, value } = await reader.read();
    text += decoder.decode(value);
    return !done;
  };
  return {
    response,
    until: async (sought) => {
      while (!text.includes(sought)) if (!(await more())) throw new Error(`ended without ${sought}: ${text}`);
      return text;
    },
    rest: async () => {
      while (await more());
      return text;
    },
  };
}

export const dataOf = (text: string): readonly unknown[] =>
  [...text.matchAll(/^data: (.*)$/gm)].map(([, data]) => JSON.parse(data!) as unknown);
