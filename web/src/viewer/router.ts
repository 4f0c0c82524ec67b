/**
 * Addresses of the app, behind the `#`: any server that has the page can serve every address, also a single node that
 * knows nothing of them.
 */
import { useEffect, useState } from "preact/hooks";

export type Address =
  | { page: "home" }
  | { page: "channels" }
  | { page: "list" }
  | { page: "search"; id: string }
  | { page: "title"; id: string }
  | { page: "watch"; id: string }
  | { page: "live"; id: string }
  | { page: "unknown" };

export function parseAddress(hash: string): Address {
  const [page = "", id = "", more] = hash.replace(/^#\/?/, "").split("/");
  const name = safeDecode(id);
  if (more !== undefined || name === null) return { page: "unknown" };
  if (page === "" && id === "") return { page: "home" };
  if (page === "live" && id === "") return { page: "channels" };
  if (page === "list" && id === "") return { page: "list" };
  if (page === "search") return { page, id: name };
  if ((page === "title" || page === "watch" || page === "live") && name !== "") return { page, id: name };
  return { page: "unknown" };
}

function safeDecode(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}

export const href = (page: "title" | "watch" | "live" | "search", id: string): string => `#/${page}/${encodeURIComponent(id)}`;

/** When the viewer last asked for a page, on `performance.now()`: what the first frame of a playback is measured from. */
let askedAt = 0;
export const askedForPageAt = (): number => askedAt;

export function useAddress(): Address {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const changed = (): void => {
      askedAt = performance.now();
      setHash(location.hash);
    };
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return parseAddress(hash);
}

/** Back to where the viewer came from inside the app, else to `otherwise`. */
export function goBack(otherwise: string): void {
  if (history.length > 1 && askedAt > 0) history.back();
  else location.hash = otherwise;
}
