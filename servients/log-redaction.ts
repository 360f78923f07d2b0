/**
 * What never gets into a log, whoever hands it over: fields by the names that secrets go by, at any depth, bytes of
 * any kind, and in texts (also those of errors of libraries) tokens and passwords in URLs.
 */
import { pino, type LoggerOptions } from 'pino';

const secretName =
  /secret|signer|password|passphrase|authorization|cookie|assertion|privatekey|hpkekey|^(?:key|keys|readingKey|groupKey|token|tokens|code|codes|dpop|jwt|d)$|[a-z](?:Token|Code|Keys)$/i;
/** These say what happened, and are no one-time codes. */
const plainName = /^(?:code|errorCode|lastErrorCode|setAsideCode|statusCode|exitCode|coapCode)$/;
const censored = '[redacted]';
const deepest = 6;

/** A copy for the log. */
function withoutSecrets(value: unknown, depth = 0): unknown {
  if (typeof value === 'string') return withoutTokens(value);
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof Error) return withoutSecrets(pino.stdSerializers.err(value), depth);
  // Bytes have no place in a log: what is to be shown of them is given as text.
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (depth === deepest) return '[deeper]';
  if (Array.isArray(value)) return value.map((item) => withoutSecrets(item, depth + 1));
  if (value instanceof Date) return value.toISOString();
  if (value instanceof Map || value instanceof Set) return `[${value.size} entries]`;
  return Object.fromEntries(
    Object.entries(value).map(([name, field]) => [
      name,
      secretName.test(name) && !plainName.test(name) ? censored : withoutSecrets(field, depth + 1),
    ]),
  );
}

const patterns: readonly (readonly [RegExp, string])[] = [
  // JWTs, whatever stands around them.
  [/\beyJ[\w-]+\.[\w-]*\.[\w-]*/g, censored],
  [/\b(Bearer|DPoP|Basic) [^\s"',;]+/gi, `$1 ${censored}`],
  // Of databases and others.
  [/(:\/\/[^:@/\s]*:)[^@\s]*@/g, `$1${censored}@`],
  [/\b(code|token|access_token|refresh_token|id_token|client_assertion|password)=[^&\s"']+/gi, `$1=${censored}`],
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----[^]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)/g, censored],
  [/AGE-SECRET-KEY-\w+/gi, censored],
];

const withoutTokens = (text: string): string =>
  patterns.reduce((shown, [pattern, replacement]) => shown.replace(pattern, replacement), text);

/** Of every log of ours: one JSON object a line, so that no text that a caller chose can begin another. */
export const logOptions = (level: string): LoggerOptions => ({
  level,
  base: null,
  timestamp: pino.stdTimeFunctions.isoTime,
  formatters: { log: (fields) => withoutSecrets(fields) as Record<string, unknown> },
  // Already done, with all that an error holds.
  serializers: { err: (error: unknown) => error },
  hooks: {
    logMethod(args, method) {
      const cleaned = args.map((arg) => (typeof arg === 'string' ? withoutTokens(arg) : arg));
      method.apply(this, cleaned as Parameters<typeof method>);
    },
  },
});
