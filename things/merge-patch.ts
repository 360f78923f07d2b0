/** JSON merge patches (RFC 7396). Members are set by definition, so that one named `__proto__` is a member like any other. */
type Members = Readonly<Record<string, unknown>>;

/** What a patch makes of a value; neither is changed (RFC 7396 §2). */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch;
  const merged = new Map(isObject(target) ? Object.entries(target) : []);
  for (const [name, change] of Object.entries(patch)) {
    if (change === null) merged.delete(name);
    else merged.set(name, mergePatch(merged.get(name), change));
  }
  return Object.fromEntries(merged);
}

/**
 * The patch that makes `after` of `before`, undefined where they are equal. A member that becomes null is named as one
 * that goes: a merge patch has no other words for it.
 */
export function patchBetween(before: unknown, after: unknown): unknown {
  if (!isObject(before) || !isObject(after)) return sameJson(before, after) ? undefined : after;
  const changes = Object.entries(after)
    .map(([name, value]) => [name, Object.hasOwn(before, name) ? patchBetween(before[name], value) : value] as const)
    .filter(([, change]) => change !== undefined);
  const gone = Object.keys(before).filter((name) => !Object.hasOwn(after, name));
  if (changes.length === 0 && gone.length === 0) return undefined;
  return Object.fromEntries([...changes, ...gone.map((name) => [name, null] as const)]);
}

const isObject = (value: unknown): value is Members =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Both come from JSON. An array in another order of its members' members is sent again, which is true as well. */
const sameJson = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);
