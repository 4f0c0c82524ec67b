/**
 * What can go wrong with a call, as the caller needs it: again later, never, or nobody there.
 *
 * - ApiError     the service answered and refused; `code` says why
 * - Unreachable  no region gave an answer before the deadline; nothing is known of the effect
 */

/** RFC 9457 problem+json, as the service sends it. */
export interface Problem {
  type?: string;
  title?: string;
  status?: number;
  code?: string;
  detail?: string;
  retry_after_ms?: number;
  fallback?: string;
  [extension: string]: unknown;
}

export class ApiError extends Error {
  override name = "ApiError";
  constructor(
    readonly status: number,
    readonly problem: Problem,
    /** Region that refused, as its answer said; empty when it did not. */
    readonly region: string,
  ) {
    super(`${status} ${problem.code ?? ""}: ${problem.detail ?? problem.title ?? "refused"}`);
  }
  get code(): string {
    return this.problem.code ?? `http_${this.status}`;
  }
}

export class Unreachable extends Error {
  override name = "Unreachable";
  constructor(
    what: string,
    readonly tried: readonly string[],
    override readonly cause?: unknown,
  ) {
    super(`${what}: no answer from ${tried.join(", ") || "any region"}; the call may be repeated with the same key`);
  }
}
