/** Light or dark: the system's choice until the viewer makes one. */
import { useEffect, useState } from "preact/hooks";

export type Theme = "light" | "dark";

const KEY = "eisbach.theme";

function currentTheme(): Theme {
  const chosen = document.documentElement.dataset["theme"];
  if (chosen === "light" || chosen === "dark") return chosen;
  return matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark";
}

function toggleTheme(): Theme {
  const next = currentTheme() === "dark" ? "light" : "dark";
  document.documentElement.dataset["theme"] = next;
  try {
    localStorage.setItem(KEY, next);
  } catch {
    // For this visit only, then.
  }
  return next;
}

/** The theme that is shown, and what a button does with it; follows the system while the viewer has not chosen. */
export function useTheme(): [Theme, () => void] {
  const [theme, setTheme] = useState<Theme>(currentTheme);
  useEffect(() => {
    const system = matchMedia("(prefers-color-scheme: light)");
    const changed = (): void => setTheme(currentTheme());
    system.addEventListener("change", changed);
    return () => system.removeEventListener("change", changed);
  }, []);
  return [theme, () => setTheme(toggleTheme())];
}
