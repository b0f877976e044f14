/**
 * Which authorities' certificates a server's is checked against: those that the machine's other programs trust, with
 * the caller's SSL_CERT_FILE and SSL_CERT_DIR, as OpenSSL understands them (openssl-env(7)).
 */

import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { getCACertificates } from "node:tls";
import type { Environment } from "../../shared/callers-environment.ts";
import { errorText, RktError } from "../../shared/errors.ts";

/** SSL_CERT_FILE adds a file's certificates. SSL_CERT_DIR, a list of directories, replaces the machine's. */
export function trustedCertificates({ SSL_CERT_FILE: file, SSL_CERT_DIR: directories }: Environment): string[] {
  const named = file === undefined || file === "" ? [] : certificatesOf("SSL_CERT_FILE", () => [file]);
  const machine =
    directories === undefined || directories === ""
      ? getCACertificates("system")
      : certificatesOf("SSL_CERT_DIR", () => directories.split(":").flatMap(filesOf));
  const all = [...named, ...machine];
  // The runtime's own list only where the machine has none.
  return [...new Set(all.length > 0 ? all : getCACertificates("bundled"))];
}

const filesOf = (directory: string): string[] =>
  readdirSync(directory)
    .map((name) => join(directory, name))
    .filter((path) => statSync(path, { throwIfNoEntry: false })?.isFile() === true);

function certificatesOf(variable: string, files: () => string[]): string[] {
  try {
    return files().flatMap((file) => readFileSync(file, "latin1").match(CERTIFICATE) ?? []);
  } catch (cause) {
    throw new RktError("bad-environment", `${variable}: ${errorText(cause)}`, {
      hint: "it names PEM files of authorities that rkt is to trust: correct it, or unset it",
      cause,
    });
  }
}

const CERTIFICATE = /-----BEGIN (?:TRUSTED )?CERTIFICATE-----[^-]*-----END (?:TRUSTED )?CERTIFICATE-----/g;
