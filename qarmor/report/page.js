"use strict";
(() => {
  document.documentElement.classList.add("js");

  for (const chooser of document.querySelectorAll("[data-chooser]")) {
    const panels = document.querySelectorAll(`[data-panel="${chooser.dataset.chooser}"]`);
    const [attack, eps] = chooser.querySelectorAll("select");
    const show = () => {
      for (const panel of panels) panel.hidden = panel.dataset.attack !== attack.value || panel.dataset.eps !== eps.value;
    };
    attack.addEventListener("change", show);
    eps.addEventListener("change", show);
    show();
  }

  const body = document.querySelector("#rows tbody");
  const heads = [...document.querySelectorAll("#rows thead th")];
  const compare = new Intl.Collator("en", { numeric: true }).compare;
  const order = (a, b, at, numeric) => {
    const [x, y] = [a.cells[at].textContent.trim(), b.cells[at].textContent.trim()];
    if (!numeric) return compare(x, y);
    const [p, q] = [parseFloat(x), parseFloat(y)];
    return Number.isNaN(p) ? (Number.isNaN(q) ? 0 : -1) : Number.isNaN(q) ? 1 : p - q;
  };
  heads.forEach((head, at) => head.querySelector("button").addEventListener("click", () => {
    const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    body.append(...[...body.rows].sort((a, b) => sign * order(a, b, at, head.classList.contains("num"))));
  }));

  const filter = document.querySelector("#filter");
  const count = document.querySelector("#count");
  filter.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of body.rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = `${shown} of ${body.rows.length} rows shown`;
  });
})();
