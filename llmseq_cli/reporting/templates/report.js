"use strict";
const boards = [...document.querySelectorAll(".board")];

function valueOf(body, place) {
  const cell = body.rows[0].cells[place];
  return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
}

function sortBy(board, head) {
  const heads = [...board.tHead.rows[0].cells], place = heads.indexOf(head);
  const numbers = !head.classList.contains("text");
  // Numbers first come from the top, words from A.
  const before = head.getAttribute("aria-sort");
  const order = before ? (before === "descending" ? "ascending" : "descending") : numbers ? "descending" : "ascending";
  for (const one of heads) one.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const bodies = [...board.tBodies].map((body) => [valueOf(body, place), body]);
  bodies.sort(([a], [b]) => {
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;  // what has no number comes last
    return sign * (typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true }));
  });
  for (const [, body] of bodies) board.append(body);
}

function filter() {
  const words = document.getElementById("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0, all = 0;
  for (const board of boards) {
    const dataset = board.closest("section").querySelector("h2").textContent;
    for (const body of board.tBodies) {
      const text = (dataset + " " + body.textContent).toLowerCase();
      body.hidden = !words.every((word) => text.includes(word));
      all += 1;
      shown += body.hidden ? 0 : 1;
    }
  }
  document.getElementById("count").textContent = words.length ? shown + " of " + all + " lines" : "";
}

for (const board of boards) {
  for (const head of board.tHead.rows[0].cells) head.firstChild.addEventListener("click", () => sortBy(board, head));
}
for (const button of document.querySelectorAll(".open")) {
  button.addEventListener("click", () => document.getElementById("run-" + button.dataset.run).showModal());
}
document.getElementById("filter").addEventListener("input", filter);

const theme = document.getElementById("theme"), root = document.documentElement;
const isDark = () => getComputedStyle(root).colorScheme === "dark";
const nameTheme = () => { theme.textContent = isDark() ? "Light" : "Dark"; };
theme.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; nameTheme(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", nameTheme);
nameTheme();
