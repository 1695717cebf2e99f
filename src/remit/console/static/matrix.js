// A table of links becomes a grid: one stop of the Tab key, arrows between the cells, and the explanation beside the cell.
import { load } from "./fragment.js";
import { localTimes } from "./page.js";

const table = document.querySelector("table.matrix");
const beside = document.getElementById("beside");

if (table) {
  const rows = [...table.tBodies[0].rows].map((row) => [...row.querySelectorAll("a")]);
  const all = rows.flat();
  let chosen = null;

  const stop = (at) => {
    for (const each of all) each.tabIndex = each === at ? 0 : -1;
  };
  stop(rows[0][0]);

  const explain = async (at) => {
    chosen = at;
    for (const each of all) each.removeAttribute("aria-current");
    at.setAttribute("aria-current", "true");
    beside.hidden = false;
    beside.textContent = "…";
    try {
      await load(at.href, beside);
      for (const each of beside.querySelectorAll("form, .command")) each.remove();
      localTimes(beside);
      const link = document.createElement("a");
      link.href = at.href;
      link.textContent = "Open as a page";
      const close = document.createElement("button");
      close.type = "button";
      close.textContent = "Close";
      close.addEventListener("click", hide);
      const foot = document.createElement("p");
      foot.append(link, " ", close);
      beside.append(foot);
    } catch {
      location.assign(at.href);
    }
  };

  const hide = () => {
    beside.hidden = true;
    chosen?.removeAttribute("aria-current");
    chosen?.focus();
  };

  table.addEventListener("click", (event) => {
    const at = event.target.closest("td a");
    if (!at || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    stop(at);
    explain(at);
  });

  table.addEventListener("keydown", (event) => {
    const at = event.target.closest("a");
    const row = rows.findIndex((each) => each.includes(at));
    if (row < 0) return;
    const column = rows[row].indexOf(at);
    const moves = {
      ArrowRight: [row, column + 1],
      ArrowLeft: [row, column - 1],
      ArrowDown: [row + 1, column],
      ArrowUp: [row - 1, column],
      Home: [row, 0],
      End: [row, rows[row].length - 1],
    };
    const next = moves[event.key] && rows[moves[event.key][0]]?.[moves[event.key][1]];
    if (next) {
      event.preventDefault();
      stop(next);
      next.focus();
    }
  });

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !beside.hidden) hide();
  });
}
