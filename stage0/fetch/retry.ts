/** When a request is tried again, and when a server is too slow to wait for. */

import { setTimeout as sleep } from "node:timers/promises";
import { AGAIN, HttpError } from "./http-error.ts";

/** So many bytes must come in so many milliseconds of waiting for them. */
export interface LeastRate {
  bytes: number;
  milliseconds: number;
}

/** Each pause is twice the one before; all are in milliseconds. */
export interface RetryPolicy {
  /** So many failures in a row, without progress between them, are final. */
  attempts: number;
  firstPause: number;
  longestPause: number;
  /** If a server asks for a longer pause (Retry-After), the failure is final. */
  longestRetryAfter: number;
}

export const DEFAULT_RETRY: RetryPolicy = { attempts: 5, firstPause: 500, longestPause: 8_000, longestRetryAfter: 60_000 };
/** 1 KiB a second, slower than a modem: a server that sends a byte a minute is abandoned after five. */
export const LEAST_RATE: LeastRate = { bytes: 300 * 1024, milliseconds: 300_000 };

/** How a client tries again. */
export interface Retrying {
  retry: RetryPolicy;
  /** Called for each failure after which the request is tried again, with the seconds until then. */
  onRetry?: ((error: HttpError, seconds: number) => void) | undefined;
}

/**
 * Waits and returns if the request is to be tried again after failure number
 * `failures` (from 1) in a row; throws the error if it is final. In the middle
 * of a download (`midway`) a server that is out of reach may be restarting.
 */
export async function waitToRetry(
  { retry, onRetry }: Retrying,
  error: unknown,
  options: { failures: number; midway?: boolean; signal?: AbortSignal | undefined },
): Promise<void> {
  const { failures, midway, signal } = options;
  const { attempts, firstPause, longestPause, longestRetryAfter } = retry;
  if (!(error instanceof HttpError) || failures >= attempts) throw error;
  if (!error.transient && !(midway === true && error.code === "unreachable")) throw error;
  if ((error.retryAfter ?? 0) > longestRetryAfter) throw error;
  const pause = error.retryAfter ?? Math.min(longestPause, firstPause * 2 ** (failures - 1));
  onRetry?.(error, pause / 1000);
  try {
    await sleep(pause, undefined, { signal });
  } catch (cause) {
    signal?.throwIfAborted();
    throw cause;
  }
}

/** Watches how fast one file arrives, over all requests for it. */
export function watchRate({ bytes, milliseconds }: LeastRate) {
  let arrived = 0;
  let waited = 0;
  let since = performance.now();
  return {
    /** Throws if too little has arrived for too long. */
    arrived(length: number, shown: string): void {
      const now = performance.now();
      arrived += length;
      waited += now - since;
      since = now;
      if (waited < milliseconds) return;
      if (arrived < bytes)
        throw new HttpError(
          "too-slow",
          `get ${shown}: the server sends too slowly, ${arrived} bytes in ${Math.round(waited / 1000)} s`,
          { hint: AGAIN },
        );
      arrived = 0;
      waited = 0;
    },
    /** The time since the last call was not the server's. */
    busy(): void {
      since = performance.now();
    },
  };
}
