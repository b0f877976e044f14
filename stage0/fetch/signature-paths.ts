/** Where the detached signature of an image lies, beside a file or a URL. Small, because every start loads it. */

/** Beside `x.aci` there is `x.aci.asc`, or `x.sig`, as the first rkt had it. */
export function signaturePaths(image: string): string[] {
  const stem = image.replace(/\.aci$/, "");
  return stem === image ? [`${image}.aci.asc`, `${image}.asc`] : [`${image}.asc`, `${stem}.sig`];
}
