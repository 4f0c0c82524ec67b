/** What every part of the app shares: the client, the language, and what was loaded last. */
import { createContext } from "preact";
import { useContext, useEffect, useState } from "preact/hooks";
import { Unreachable, type Client } from "../sdk";
import { type Key, type Lang, text } from "./texts";

export interface App {
  client: Client;
  lang: Lang;
  setLang: (lang: Lang) => void;
  t: (key: Key, values?: Record<string, string | number>) => string;
  /** Only the player, as the demo page shows it. */
  embedded: boolean;
  query: URLSearchParams;
}

export const AppContext = createContext<App | null>(null);

export function useApp(): App {
  const app = useContext(AppContext);
  if (!app) throw new Error("outside of the app");
  return app;
}

export const translator = (lang: Lang): App["t"] => (key, values) => text(lang, key, values);

export interface Loaded<T> {
  value: T | null;
  error: unknown;
  /** The value is an older one: the service does not answer. */
  stale: boolean;
  reload: () => void;
}

/** What was loaded last under a key, so that going back shows at once and an outage shows the old. */
const memory = new Map<string, unknown>();
const KEPT = 60;

export function useLoad<T>(key: string, load: () => Promise<T>, everyMs = 0): Loaded<T> {
  const [round, setRound] = useState(0);
  const [state, setState] = useState<{ key: string; value: T | null; error: unknown }>({ key: "", value: null, error: null });
  useEffect(() => {
    let wanted = true;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const again = (ms: number): void => {
      timer = setTimeout(() => setRound((n) => n + 1), ms);
    };
    load().then(
      (value) => {
        remember(key, value);
        if (!wanted) return;
        setState({ key, value, error: null });
        if (everyMs > 0) again(everyMs);
      },
      (error: unknown) => {
        if (!wanted) return;
        setState({ key, value: (memory.get(key) as T | undefined) ?? null, error });
        if (error instanceof Unreachable) again(4000); // keeps trying while the page is open
      },
    );
    return () => {
      wanted = false;
      clearTimeout(timer);
    };
  }, [key, round]);
  const value = state.key === key ? state.value : ((memory.get(key) as T | undefined) ?? null);
  const error = state.key === key ? state.error : null;
  return { value, error, stale: error !== null && value !== null, reload: () => setRound((n) => n + 1) };
}

function remember(key: string, value: unknown): void {
  memory.delete(key);
  memory.set(key, value);
  const oldest = memory.keys().next().value;
  if (memory.size > KEPT && oldest !== undefined) memory.delete(oldest);
}
