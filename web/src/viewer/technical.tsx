/** Who serves this picture, and how well: what an engineer wants to see over a player. */
import type { JSX } from "preact";
import { useEffect, useReducer } from "preact/hooks";
import { useApp } from "./context";
import { statistics } from "./statistics";

export function Technical(): JSX.Element {
  const { client, t } = useApp();
  const [, redraw] = useReducer((n: number) => n + 1, 0);
  useEffect(() => {
    const timer = setInterval(() => redraw(0), 500);
    return () => clearInterval(timer);
  }, []);
  const s = statistics(client);
  const longest = Math.max(0, ...s.stalls.map((g) => g.ms));
  const rows: [string, string][] = [
    [t("servedBy"), s.region ? `${s.region} (${s.origin.replace(/^https?:\/\//, "")})` : "–"],
    [t("cell"), s.cell || "–"],
    [t("buffer"), `${Math.max(0, s.bufferedEnd - s.currentTime).toFixed(1)} s`],
    [t("gaps"), s.stalls.length === 0 ? t("none") : `${s.stalls.length} (≤ ${longest} ms)`],
    [t("firstFrame"), s.firstFrameMs === null ? "–" : `${s.firstFrameMs} ms`],
    [t("engine"), `${s.player || "–"} · ${s.protocol.toUpperCase()}`],
  ];
  return (
    <aside class="technical" aria-label={t("technical")}>
      <dl>{rows.map(([k, v]) => <div key={k}><dt>{k}</dt><dd>{v}</dd></div>)}</dl>
    </aside>
  );
}
