/** What is wrong with a value, said so that its author can mend it. */
import type { ErrorObject } from 'ajv';

/** As WoT Discovery §7.3.2.1.6 puts it into a problem document's `validationErrors`. */
export interface FieldError {
  /** Path with dots, e.g. `properties.status.forms.0.href`; `(root)` for the whole. */
  readonly field: string;
  readonly description: string;
}

/** More would not help whoever has to mend it. */
export const maxErrors = 10;

/** At most 10 errors of ajv, one for each field; the alternatives of `oneOf` and `anyOf` become one sentence. */
export function describeErrors(errors: readonly ErrorObject[]): readonly FieldError[] {
  const byPath = new Map<string, ErrorObject[]>();
  for (const error of errors) {
    const ofPath = byPath.get(error.instancePath);
    if (ofPath === undefined) byPath.set(error.instancePath, [error]);
    else ofPath.push(error);
  }
  const paths = [...byPath.keys()];
  return [...byPath]
    .filter(([path, ofPath]) => !(ofPath.some(isCombiner) && paths.some((other) => other.startsWith(`${path}/`))))
    .slice(0, maxErrors)
    .map(([path, ofPath]) => ({ field: fieldOf(path), description: describe(ofPath) }));
}

const isCombiner = ({ keyword }: ErrorObject): boolean => keyword === 'oneOf' || keyword === 'anyOf';

/** From a JSON Pointer to the notation of WoT Discovery. */
const fieldOf = (pointer: string): string =>
  pointer === '' ? '(root)' : pointer.slice(1).replaceAll('/', '.').replaceAll('~1', '/').replaceAll('~0', '~');

function describe(errors: readonly ErrorObject[]): string {
  const sentences = new Set(errors.filter((error) => !isCombiner(error)).map(sentenceOf));
  if (sentences.size === 0) return 'matches none of what is allowed here';
  return [...sentences].join(errors.some(isCombiner) ? ', or ' : '; ');
}

function sentenceOf({ keyword, params, message }: ErrorObject): string {
  switch (keyword) {
    case 'required':
      return `${String(params['missingProperty'])} is required`;
    case 'additionalProperties':
      return `has no field ${String(params['additionalProperty'])}`;
    case 'enum':
      return `must be one of ${(params['allowedValues'] as readonly unknown[]).map(String).join(', ')}`;
    case 'const':
      return `must be ${String(params['allowedValue'])}`;
    default:
      return message ?? keyword;
  }
}
