// A table of links becomes a grid: one stop of the Tab key, arrows between the cells, and the explanation beside the cell.
import { load } from "./fragment.js";
import { localTimes } from "./page.js";

const table = document.querySelector("table.matrix");
const beside = document.getElementById("beside");
const keys = document.getElementById("keys");

if (table) {
  const rows = [...table.tBodies[0].rows].map((row) => [...row.querySelectorAll("a")]);
  const all = rows.flat();
  let chosen = null;

  const stop = (at) => {
    for (const each of all) each.tabIndex = each === at ? 0 : -1;
  };
  table.setAttribute("role", "grid");
  for (const row of table.rows) row.setAttribute("role", "row");
  for (const each of table.tHead.querySelectorAll("th")) each.setAttribute("role", "columnheader");
  for (const each of table.tBodies[0].querySelectorAll("th")) each.setAttribute("role", "rowheader");
  for (const each of table.querySelectorAll("td")) each.setAttribute("role", "gridcell");
  stop(rows[0][0]);
  const showKeys = document.getElementById("show-keys");
  showKeys.hidden = false;
  showKeys.addEventListener("click", () => keys.showModal());

  const explain = async (at) => {
    chosen = at;
    for (const each of all) each.removeAttribute("aria-current");
    at.setAttribute("aria-current", "true");
    beside.hidden = false;
    beside.textContent = "…";
    const found = document.createElement("div");
    try {
      await load(at.href, found);
    } catch {
      location.assign(at.href);
      return;
    }
    // Somebody has chosen another cell, or none, since.
    if (chosen !== at) return;
    for (const each of found.querySelectorAll("form, .command")) each.remove();
    localTimes(found);
    const link = document.createElement("a");
    link.href = at.href;
    link.textContent = "Open as a page";
    const close = document.createElement("button");
    close.type = "button";
    close.textContent = "Close";
    close.addEventListener("click", hide);
    const foot = document.createElement("p");
    foot.append(link, " ", close);
    beside.replaceChildren(...found.childNodes, foot);
    if (document.activeElement === at) beside.focus();
  };

  const hide = () => {
    beside.hidden = true;
    chosen?.removeAttribute("aria-current");
    chosen?.focus();
    chosen = null;
  };

  table.addEventListener("click", (event) => {
    const at = event.target.closest("td a");
    if (!at || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    stop(at);
    explain(at);
  });

  table.addEventListener("keydown", (event) => {
    // Only in the matrix: a key of one character has no meaning elsewhere on the page.
    if (event.key === "?") {
      event.preventDefault();
      keys.showModal();
      return;
    }
    const at = event.target.closest("a");
    const row = rows.findIndex((each) => each.includes(at));
    if (row < 0) return;
    const column = rows[row].indexOf(at);
    const ends = event.key === "Home" || event.key === "End";
    if (event.altKey || event.metaKey || event.shiftKey || (event.ctrlKey && !ends)) return;
    const moves = {
      ArrowRight: [row, column + 1],
      ArrowLeft: [row, column - 1],
      ArrowDown: [row + 1, column],
      ArrowUp: [row - 1, column],
      Home: [event.ctrlKey ? 0 : row, 0],
      End: [event.ctrlKey ? rows.length - 1 : row, rows[row].length - 1],
    };
    const next = moves[event.key] && rows[moves[event.key][0]]?.[moves[event.key][1]];
    if (next) {
      event.preventDefault();
      stop(next);
      next.focus();
    }
  });

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !beside.hidden && !keys.open) hide();
  });
}
