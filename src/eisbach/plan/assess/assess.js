/* The picture: zoom by button, wheel and drag; choose a component by click, Enter or Space to mark what dies with it. */
"use strict";
(() => {
  const svg = document.getElementById("picture");
  const said = document.getElementById("said");
  if (!svg || !said) return;
  const dead = JSON.parse(document.getElementById("dead").textContent);
  const whole = svg.getAttribute("viewBox").split(" ").map(Number);
  let view = whole.slice();
  const show = () => svg.setAttribute("viewBox", view.join(" "));
  const zoom = (factor) => {
    const [x, y, w, h] = view;
    const width = Math.min(whole[2] * 2, Math.max(120, w / factor));
    const height = h * (width / w);
    view = [x + (w - width) / 2, y + (h - height) / 2, width, height];
    show();
  };
  for (const button of document.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => {
      const factor = Number(button.dataset.zoom);
      if (factor) zoom(factor);
      else { view = whole.slice(); show(); }
    });
  }
  svg.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    zoom(event.deltaY < 0 ? 1.15 : 0.87);
  }, { passive: false });
  let from = null;
  svg.addEventListener("pointerdown", (event) => { from = [event.clientX, event.clientY, ...view]; });
  addEventListener("pointerup", () => { from = null; });
  svg.addEventListener("pointermove", (event) => {
    if (!from || event.pointerType === "touch") return;
    const scale = from[4] / svg.clientWidth;
    view[0] = from[2] - (event.clientX - from[0]) * scale;
    view[1] = from[3] - (event.clientY - from[1]) * scale;
    show();
  });
  const boxes = [...svg.querySelectorAll(".box")];
  const choose = (box) => {
    const facts = dead[box.dataset.n];
    for (const other of boxes) {
      other.classList.toggle("chosen", other === box);
      other.classList.toggle("dead", facts.with.includes(Number(other.dataset.n)));
    }
    const lost = facts.journeys.length ? `journeys lost: ${facts.journeys.join(", ")}` : "no journey is lost";
    said.textContent = `${facts.name}: ${facts.with.length} more stop working; ${lost}.`;
  };
  for (const box of boxes) {
    box.addEventListener("click", () => choose(box));
    box.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(box); }
    });
  }
})();
