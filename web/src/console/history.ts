/** The last minutes of a few figures, for the small charts; one point a second, kept in memory only. */
import type { Status } from "../ui/live";

export const KEPT_S = 300;

export interface Series {
  label: string;
  /** Null where nobody could read the figure. */
  values: (number | null)[];
}

export interface Chart {
  times: number[];
  series: Map<string, Series>;
}

export class History {
  readonly requests: Chart = { times: [], series: new Map() };
  readonly lag: Chart = { times: [], series: new Map() };
  readonly backlog: Chart = { times: [], series: new Map() };
  private last = 0;

  take(status: Status): void {
    const at = Math.floor(status.now_ms / 1000);
    if (at <= this.last) return;
    this.last = at;
    add(this.requests, at, status.regions.map((r) => [r.name, sum(status.cells.filter((c) => c.region === r.name).map((c) => c.requests_per_s ?? null))]));
    add(this.lag, at, status.replication.map((l) => [`${l.from} → ${l.to}`, l.lag_ms]));
    add(this.backlog, at, status.regions.map((r) => [r.name, sum(status.hub.filter((h) => h.region === r.name).map((h) => h.backlog))]));
  }
}

function sum(values: (number | null)[]): number | null {
  const known = values.filter((v): v is number => v !== null);
  return known.length > 0 ? known.reduce((a, b) => a + b, 0) : null;
}

function add(chart: Chart, at: number, values: [string, number | null][]): void {
  for (const [label] of values) {
    if (!chart.series.has(label)) chart.series.set(label, { label, values: chart.times.map(() => null) });
  }
  chart.times.push(at);
  const now = new Map(values);
  for (const series of chart.series.values()) series.values.push(now.get(series.label) ?? null);
  if (chart.times.length <= KEPT_S) return;
  chart.times.shift();
  for (const series of chart.series.values()) series.values.shift();
}
