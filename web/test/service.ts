/** A service of two regions for the SDK's tests: each region answers as it is told, after as long as it is told. */
import { vi } from "vitest";
import type { Endpoint } from "../src/sdk/regions";

export const FRONT = "http://front";
export const A: Endpoint = { region: "eu-central", api: "http://a", media: "http://media-a" };
export const B: Endpoint = { region: "eu-west", api: "http://b", media: "http://media-b" };

export interface Request {
  at: number;
  host: string;
  method: string;
  path: string;
  headers: Record<string, string>;
  body: unknown;
}

export type Behaviour = (request: Request) => Response | "hang" | "refuse" | { afterMs: number; answer: Response };

export function json(status: number, body: unknown, headers: Record<string, string> = {}): Response {
  return new Response(status === 204 ? null : JSON.stringify(body), {
    status,
    headers: { "Content-Type": "application/json", ...headers },
  });
}

export class Service {
  readonly requests: Request[] = [];
  readonly behaviours = new Map<string, Behaviour>();

  on(endpoint: Endpoint | string, behaviour: Behaviour): void {
    this.behaviours.set(typeof endpoint === "string" ? endpoint : endpoint.api, behaviour);
  }

  to(endpoint: Endpoint | string, path = ""): Request[] {
    const host = typeof endpoint === "string" ? endpoint : endpoint.api;
    return this.requests.filter((r) => r.host === host && r.path.includes(path));
  }

  readonly fetch: typeof fetch = (input, init) => {
    const url = new URL(String(input));
    const request: Request = {
      at: Date.now(),
      host: url.origin,
      method: init?.method ?? "GET",
      path: url.pathname,
      headers: (init?.headers ?? {}) as Record<string, string>,
      body: typeof init?.body === "string" ? JSON.parse(init.body) : undefined,
    };
    this.requests.push(request);
    return new Promise((resolve, reject) => {
      init?.signal?.addEventListener("abort", () => reject(new DOMException("aborted", "AbortError")));
      const behaviour = this.behaviours.get(url.origin)?.(request) ?? "refuse";
      if (behaviour === "hang") return;
      if (behaviour === "refuse") return reject(new TypeError("connection refused"));
      if (behaviour instanceof Response) return resolve(behaviour);
      setTimeout(() => resolve(behaviour.answer), behaviour.afterMs);
    });
  };
}

/** Lets the fake clock run until `work` is done; the work's result, or its error as a value. */
export async function within<T>(ms: number, work: Promise<T>): Promise<{ value?: T; error?: unknown; tookMs: number }> {
  const start = Date.now();
  let found: { value?: T; error?: unknown; tookMs: number } | null = null;
  work.then(
    (value) => (found = { value, tookMs: Date.now() - start }),
    (error: unknown) => (found = { error, tookMs: Date.now() - start }),
  );
  for (let passed = 0; passed <= ms && found === null; passed += 10) await vi.advanceTimersByTimeAsync(10);
  if (found === null) throw new Error(`not done within ${ms} ms`);
  return found;
}
