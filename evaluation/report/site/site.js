"use strict";
(() => {
  const cellValue = (row, column) => {
    const cell = row.cells[column];
    const number = cell.dataset.value;
    return number === undefined ? cell.textContent.trim().toLowerCase() : Number(number);
  };
  const compare = (a, b) => {
    if (typeof a === typeof b) return a < b ? -1 : a > b ? 1 : 0;
    return typeof a === "number" ? 1 : -1;
  };
  const sortBy = (table, header, column) => {
    const down = header.getAttribute("aria-sort") !== "descending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0];
    const rows = [...body.rows].sort((a, b) => compare(cellValue(a, column), cellValue(b, column)));
    body.append(...(down ? rows.reverse() : rows));
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((header, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = header.textContent;
      button.addEventListener("click", () => sortBy(table, header, column));
      header.replaceChildren(button);
    });
  }
  const filters = [...document.querySelectorAll("select[data-filter]")];
  const rows = [...document.querySelectorAll("main section:first-of-type table.sortable tbody tr")];
  const count = document.querySelector("main .count");
  const filter = () => {
    let shown = 0;
    for (const row of rows) {
      row.hidden = filters.some((one) => one.value && row.dataset[one.dataset.filter] !== one.value);
      shown += row.hidden ? 0 : 1;
    }
    if (count) count.textContent = `${shown} of ${rows.length} rows`;
  };
  for (const one of filters) one.addEventListener("change", filter);
  filter();
})();
