"use strict";
(() => {
  document.documentElement.classList.add("js");
  const button = (words, act) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = words;
    made.addEventListener("click", act);
    return made;
  };

  // Sections with several closed parts get a button that opens or closes all of them.
  for (const section of document.querySelectorAll("main > section")) {
    const parts = [...section.querySelectorAll("details.part")];
    if (parts.length < 2) continue;
    const toggle = button("", () => {
      const open = !parts.every((part) => part.open);
      for (const part of parts) part.open = open;
    });
    const name = () => { toggle.textContent = parts.every((part) => part.open) ? "Close all" : "Open all"; };
    for (const part of parts) part.addEventListener("toggle", name);
    name();
    section.querySelector(".status").append(" ", toggle);
  }

  // A name in a legend, clicked, stays while the other lines of its figure fade.
  for (const legend of document.querySelectorAll("figure > .legend")) {
    const items = [...legend.querySelectorAll("li[data-line]")];
    const lines = [...legend.parentElement.querySelectorAll(".plots [data-line]")];
    if (items.length < 3) continue;
    const chosen = new Set();
    for (const item of items) {
      const label = item.querySelector("span");
      const pick = button(label.textContent, () => {
        const number = item.dataset.line;
        if (!chosen.delete(number)) chosen.add(number);
        pick.setAttribute("aria-pressed", chosen.has(number));
        for (const one of [...lines, ...items]) one.classList.toggle("faded", chosen.size > 0 && !chosen.has(one.dataset.line));
      });
      pick.title = "Show this line above the others";
      pick.setAttribute("aria-pressed", "false");
      label.replaceWith(pick);
    }
  }

  const compare = new Intl.Collator("en", { numeric: true }).compare;
  const order = (a, b, at, numeric) => {
    const [x, y] = [a, b].map((row) => row.cells[at].dataset.sort ?? row.cells[at].textContent.trim());
    if (!numeric) return compare(x, y);
    const [p, q] = [parseFloat(x.replaceAll(",", "")), parseFloat(y.replaceAll(",", ""))];
    return Number.isNaN(p) ? (Number.isNaN(q) ? 0 : -1) : Number.isNaN(q) ? 1 : p - q;
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, at) => {
      const sort = button(head.textContent, () => {
        const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
        const body = table.tBodies[0];
        body.append(...[...body.rows].sort((a, b) => sign * order(a, b, at, head.classList.contains("num"))));
      });
      head.replaceChildren(sort);
    });
  }

  // What is closed is opened for the printer, and for a link that leads into it.
  const reveal = (id) => {
    for (let at = document.getElementById(id); at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  };
  addEventListener("beforeprint", () => { for (const one of document.querySelectorAll("details.part")) one.open = true; });
  addEventListener("hashchange", () => reveal(decodeURIComponent(location.hash.slice(1))));
})();
