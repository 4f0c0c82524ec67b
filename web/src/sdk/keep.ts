/**
 * What the client remembers between visits: the device id, the sign-in, the endpoints, the position. Where the browser
 * keeps nothing (private mode, blocked storage) it lives in memory and the viewer is a new one at the next visit.
 */
export interface Storage {
  get(key: string): string | null;
  set(key: string, value: string): void;
  remove(key: string): void;
}

export class MemoryStorage implements Storage {
  private readonly values = new Map<string, string>();
  get(key: string): string | null {
    return this.values.get(key) ?? null;
  }
  set(key: string, value: string): void {
    this.values.set(key, value);
  }
  remove(key: string): void {
    this.values.delete(key);
  }
}

/** `localStorage` under a prefix; falls back to memory when the browser refuses. */
export class BrowserStorage implements Storage {
  private readonly memory = new MemoryStorage();
  constructor(private readonly prefix: string) {}

  get(key: string): string | null {
    try {
      return localStorage.getItem(this.prefix + key) ?? this.memory.get(key);
    } catch {
      return this.memory.get(key);
    }
  }
  set(key: string, value: string): void {
    this.memory.set(key, value);
    try {
      localStorage.setItem(this.prefix + key, value);
    } catch {
      // Full or forbidden: memory has it.
    }
  }
  remove(key: string): void {
    this.memory.remove(key);
    try {
      localStorage.removeItem(this.prefix + key);
    } catch {
      // As above.
    }
  }
}

/** 22 characters of `[A-Za-z0-9_-]` from 128 random bits: device ids and idempotency keys. */
export function randomId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return btoa(String.fromCharCode(...bytes)).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}
