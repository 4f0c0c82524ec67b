/**
 * Time as a port: everything in the SDK that waits, waits on this, so that tests run with a clock of their own.
 */
export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  /** Calls `then` once after `ms`; the returned function cancels it. */
  after(ms: number, then: () => void): () => void;
  /** 0 (inclusive) to 1 (exclusive); for jitter only, never for ids. */
  random(): number;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  after: (ms, then) => {
    const timer = setTimeout(then, ms);
    return () => clearTimeout(timer);
  },
  random: () => Math.random(),
};

/** Resolves after `ms`, or at once when `signal` aborts: a sleeper that is no longer wanted must not keep its caller. */
export function sleep(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const cancel = clock.after(ms, done);
    function done(): void {
      cancel();
      signal?.removeEventListener("abort", done);
      resolve();
    }
    signal?.addEventListener("abort", done);
  });
}
