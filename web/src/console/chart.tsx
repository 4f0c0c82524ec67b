/** A small chart over the last five minutes. The newest figures also stand beside it as text, for those who do not see it. */
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { type Chart, KEPT_S } from "./history";

const COLOURS = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c6"];

interface Props {
  name: string;
  unit: string;
  chart: Chart;
  /** Changes when there is a new point, or another theme. */
  version: string;
}

export function SmallChart({ name, unit, chart, version }: Props): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<{ plot: uPlot; shape: string } | null>(null);
  const all = [...chart.series.values()];
  useEffect(() => {
    const element = box.current;
    if (!element || chart.times.length === 0) return;
    const style = getComputedStyle(element);
    const shape = `${all.map((s) => s.label).join()} ${style.getPropertyValue("--text")}`;
    const now = chart.times.at(-1) as number;
    const data = [chart.times, ...all.map((s) => s.values)] as uPlot.AlignedData;
    if (plot.current?.shape !== shape) {
      plot.current?.plot.destroy();
      plot.current = { plot: new uPlot(options(element, all.map((s) => s.label), style), data, element), shape };
    }
    plot.current.plot.batch(() => {
      plot.current?.plot.setData(data, true);
      plot.current?.plot.setScale("x", { min: now - KEPT_S, max: now });
    });
  }, [version]);
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const observer = new ResizeObserver(() => plot.current?.plot.setSize({ width: element.clientWidth, height: 120 }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      plot.current?.plot.destroy();
      plot.current = null;
    };
  }, []);
  return (
    <figure class="chart">
      <figcaption>
        <h3>{name}</h3>
        <ul class="legend">
          {all.map((s, n) => {
            const last = s.values.at(-1);
            return <li key={s.label}><span class="swatch" style={{ background: `var(${COLOURS[n % COLOURS.length]})` }} />{s.label} <b>{last === null || last === undefined ? "–" : `${Math.round(last)} ${unit}`}</b></li>;
          })}
        </ul>
      </figcaption>
      <div ref={box} class="plot" aria-hidden="true" />
    </figure>
  );
}

function options(element: HTMLElement, labels: string[], style: CSSStyleDeclaration): uPlot.Options {
  const colour = (name: string): string => style.getPropertyValue(name).trim();
  const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px sans-serif" };
  return {
    width: element.clientWidth,
    height: 120,
    legend: { show: false },
    cursor: { show: false },
    padding: [8, 6, 0, 0],
    scales: { x: { time: true, auto: false }, y: { range: (_u, _min, max) => [0, Math.max(4, (max ?? 0) * 1.2)] } },
    axes: [
      { ...axis, size: 22, space: 70, values: (_u, ticks) => ticks.map((t) => new Date(t * 1000).toLocaleTimeString([], { minute: "2-digit", second: "2-digit" })) },
      { ...axis, size: 40, space: 34 },
    ],
    series: [{}, ...labels.map((label, n) => ({ label, stroke: colour(COLOURS[n % COLOURS.length] as string), width: 2, points: { show: false } }))],
  };
}
