/**
 * Arrow keys move between everything that can be focused, as on a TV remote: to the nearest thing in that direction.
 * The players' keys and text fields keep their arrows.
 */
const REACHABLE = 'a[href], button:not([disabled]), [tabindex="0"]';
const DIRECTIONS: Record<string, [number, number]> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export interface Box {
  left: number;
  right: number;
  top: number;
  bottom: number;
}

/**
 * How far `to` is from `from` in a direction; null when it does not lie there. What is off to the side counts three
 * times, so that one stays in one's row or column where one can.
 */
export function distance(from: Box, to: Box, [dx, dy]: readonly [number, number]): number | null {
  const centre = (b: Box): [number, number] => [(b.left + b.right) / 2, (b.top + b.bottom) / 2];
  const [fx, fy] = centre(from);
  const [tx, ty] = centre(to);
  const along = dx !== 0 ? (tx - fx) * dx : (ty - fy) * dy;
  // Vertically the edges decide: the next row begins below this one.
  const beyond = dx !== 0 ? along > 1 : dy > 0 ? to.top >= from.bottom - 2 : to.bottom <= from.top + 2;
  if (!beyond) return null;
  const gap = (a1: number, a2: number, b1: number, b2: number): number => Math.max(0, b1 - a2, a1 - b2);
  const aside = dx !== 0 ? gap(from.top, from.bottom, to.top, to.bottom) : gap(from.left, from.right, to.left, to.right);
  if (dx !== 0 && aside > 0) return null; // left and right stay in the row
  return along + aside * 3;
}

export function moveFocus(key: string, root: ParentNode = document): boolean {
  const direction = DIRECTIONS[key];
  if (!direction) return false;
  const all = [...root.querySelectorAll<HTMLElement>(REACHABLE)].filter((e) => e.offsetParent !== null && !e.closest("[inert]"));
  const current = document.activeElement as HTMLElement | null;
  if (!current || current === document.body || !all.includes(current)) {
    all.find((e) => e.closest("main"))?.focus();
    return all.length > 0;
  }
  const from = current.getBoundingClientRect();
  let best: { element: HTMLElement; distance: number } | null = null;
  for (const element of all) {
    if (element === current) continue;
    const far = distance(from, element.getBoundingClientRect(), direction);
    if (far !== null && (best === null || far < best.distance)) best = { element, distance: far };
  }
  if (!best) return false;
  best.element.focus({ preventScroll: true });
  best.element.scrollIntoView({ block: "nearest", inline: "nearest", behavior: smooth() });
  return true;
}

const smooth = (): ScrollBehavior => (matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth");

/** For as long as the page is open. */
export function listenForArrows(): void {
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (document.querySelector(".player")) return; // there, arrows seek, wherever the focus is
    const { target } = event;
    if (target instanceof HTMLElement && (target.closest("input, textarea, select, [role=menu]") !== null)) return;
    if (moveFocus(event.key)) event.preventDefault();
  });
}
