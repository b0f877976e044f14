/** Where the detached signature of an image lies: of files and of URLs. Small, for it is loaded by every run. */

/** `x.aci.asc` beside `x.aci`, then `x.sig`, as rkt had it first. */
export function signaturePaths(image: string): string[] {
  const stem = image.replace(/\.aci$/, "");
  return stem === image ? [`${image}.aci.asc`, `${image}.asc`] : [`${image}.asc`, `${stem}.sig`];
}
