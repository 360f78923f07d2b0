/** Server-sent events as they are read (HTML Living Standard §9.2.6): what is not of an event is left out. */
import { MalformedError } from '../../crypto/errors.js';

export interface ReadEvent {
  readonly event: string;
  /** Of the last event that had one; what `Last-Event-ID` is to be. */
  readonly id: string;
  readonly data: string;
}

/** In characters; a server that sends more without an end is no server of events. */
const longestEvent = 1_000_000;

/** Until the stream ends. @throws MalformedError `message-malformed` for an event that is too long */
export async function* readEventStream(body: Response['body']): AsyncGenerator<ReadEvent> {
  const decoder = new TextDecoder();
  let [text, id] = ['', ''];
  for await (const chunk of (body ?? []) as AsyncIterable<Uint8Array>) {
    // A line that ends with a carriage return alone is not told from one that goes on: nobody sends these.
    text += decoder.decode(chunk, { stream: true }).replaceAll('\r', '');
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const fields = fieldsOf(text.slice(0, end));
      text = text.slice(end + 2);
      id = fields.get('id') ?? id;
      const data = fields.get('data');
      if (data !== undefined) yield { event: fields.get('event') ?? 'message', id, data };
    }
    if (text.length > longestEvent) throw new MalformedError('message-malformed', 'an event without an end');
  }
}

function fieldsOf(frame: string): ReadonlyMap<string, string> {
  const fields = new Map<string, string>();
  for (const line of frame.split('\n')) {
    const [, name = '', value = ''] = /^([^:]*):? ?(.*)$/.exec(line) ?? [];
    const known = fields.get(name);
    fields.set(name, name === 'data' && known !== undefined ? `${known}\n${value}` : value);
  }
  return fields;
}
