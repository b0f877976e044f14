/**
 * Parses amounts of a resource: `1.5`, `500m`, `128Ki`, `2G`, `1e3` (ace.md, "Resource Isolators"; the syntax is
 * Kubernetes'). It computes with integers, never in floating point.
 */

const QUANTITY =
  /^([+-]?)([0-9]{0,40})(?:\.([0-9]{0,40}))?(?:(Ki|Mi|Gi|Ti|Pi|Ei)|([numkKMGTPE])|[eE]([+-]?[0-9]{1,2}))?$/;

/** The spec's Go code accepts only `k`, but its prose writes `K`. */
const DECIMAL: Readonly<Record<string, number>> = { n: -9, u: -6, m: -3, k: 3, K: 3, M: 6, G: 9, T: 12, P: 15, E: 18 };
const BINARY: readonly string[] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

const LIMIT = 2n ** 63n;

/**
 * The amount in units of 10^-`scale`: bytes with 0, thousandths of a core with
 * 3, billionths with 9. A fraction of a unit is rounded away from zero, so that a small amount never becomes 0.
 * Undefined if the text is no quantity, or if it is 2^63 units or more.
 */
export function parseQuantity(text: string, scale: 0 | 3 | 9): bigint | undefined {
  const match = QUANTITY.exec(text);
  if (match === null) return undefined;
  const [, sign, whole = "", fraction = "", binary, decimal, exponent] = match;
  if (whole === "" && fraction === "") return undefined;

  let numerator = BigInt(whole + fraction);
  let power = scale - fraction.length + Number(exponent ?? 0);
  if (binary !== undefined) numerator <<= BigInt(10 * (BINARY.indexOf(binary) + 1));
  if (decimal !== undefined) power += DECIMAL[decimal] ?? 0;

  let result = numerator;
  if (power >= 0) result *= 10n ** BigInt(power);
  else {
    const unit = 10n ** BigInt(-power);
    result = (numerator + unit - 1n) / unit;
  }
  if (result >= LIMIT) return undefined;
  return sign === "-" ? -result : result;
}
