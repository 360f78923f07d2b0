/** Floats of CBOR (RFC 8949 §3.3): read in 16, 32 and 64 bits, written in the shortest of them that is exact (§4.2.1). */

/** Head and bits; `value` is finite. 3, 5 or 9 bytes. */
export function encodeFloat(value: number): Uint8Array {
  const half = halfOf(value);
  if (half !== undefined) return Uint8Array.of(0xf9, half >> 8, half & 0xff);
  const size = Math.fround(value) === value ? 4 : 8;
  const bytes = new Uint8Array(1 + size);
  const view = new DataView(bytes.buffer);
  bytes[0] = size === 4 ? 0xfa : 0xfb;
  if (size === 4) view.setFloat32(1, value);
  else view.setFloat64(1, value);
  return bytes;
}

/** The bits of half precision that are exactly `value`, if any are: 1 sign, 5 exponent, 10 fraction. */
function halfOf(value: number): number | undefined {
  const sign = value < 0 ? 0x8000 : 0;
  const subnormal = Math.abs(value) * 2 ** 24;
  if (subnormal < 1024) return Number.isInteger(subnormal) ? sign | subnormal : undefined;
  const view = new DataView(new ArrayBuffer(4));
  view.setFloat32(0, value);
  const bits = view.getUint32(0) & 0x7fff_ffff;
  const isExact = view.getFloat32(0) === value && (bits & 0x1fff) === 0 && bits < 0x4780_0000;
  // The exponent's bias is 127 in single and 15 in half precision.
  return isExact ? sign | ((bits >> 13) - (112 << 10)) : undefined;
}

/** @throws RangeError when `bytes` are not 2, 4 or 8 */
export function decodeFloat(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length === 2) return fromHalf(view.getUint16(0));
  return bytes.length === 4 ? view.getFloat32(0) : view.getFloat64(0);
}

function fromHalf(bits: number): number {
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  const sign = bits >> 15 === 0 ? 1 : -1;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : Number.NaN;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}
