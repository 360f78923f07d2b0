/** The JSON Schema of scripted interaction tests (docs/interaction-tests.md). */
const text = { type: 'string', minLength: 1 } as const;

export const scriptSchema = {
  title: 'Scripted test of interactions with Things',
  type: 'object',
  required: ['title', 'things', 'steps'],
  additionalProperties: false,
  properties: {
    title: text,
    things: { type: 'object', minProperties: 1, additionalProperties: text },
    steps: {
      type: 'array',
      minItems: 1,
      items: {
        type: 'object',
        additionalProperties: false,
        properties: {
          thing: text,
          read: text,
          write: text,
          invoke: text,
          observe: text,
          subscribe: text,
          wait: text,
          input: {},
          expect: {},
          refused: { type: 'object' },
          save: { type: 'string', pattern: '^[A-Za-z0-9_-]+$' },
          as: text,
          timeoutMs: { type: 'integer', minimum: 1, maximum: 3_600_000 },
        },
        oneOf: [
          { required: ['wait'] },
          { required: ['thing', 'read'] },
          { required: ['thing', 'write', 'input'] },
          { required: ['thing', 'invoke'] },
          { required: ['thing', 'observe'] },
          { required: ['thing', 'subscribe'] },
        ],
      },
    },
  },
} as const;
