// The table of results: a row per method, a group of columns per kind of what was held out; it knows no pairs.

const family = new Map(data.methods.map((method) => [method.name, method.family]));
const methodOrder = new Map(data.methods.map((method, index) => [method.name, index]));
const judged = new Set((data.pairs?.cells ?? []).map(([method]) => method));
const order = (names) => new Map(names.map((name, index) => [name, index]));
const attributeOrder = order(["", ...data.attributes]);
const partitionOrder = order(data.partitions);
const kindOrder = order(data.kinds);
const MEASURES = [...[[ measures ]]];

/** Rows of one method, attribute, partition and source kind, which differ in what was held out, as one. */
const lines = [...data.rows.reduce((found, row) => {
  const key = JSON.stringify([row.method, row.attribute, row.partition, row.kind]);
  const line = found.get(key) ?? { ...row, by: {} };
  line.by[row.generalisation] = row;
  return found.set(key, line);
}, new Map()).values()];

/** Columns that stand in each group: `of` sorts, `text` is copied, `cell` is drawn. */
const SCORED = [
  ...[[ measures ]].map((score) => ({
    key: score, label: score[0].toUpperCase() + score.slice(1),
    of: (row) => row[score].value, text: (row) => numberOr(row[score].value, "–"),
    cell: (row) => scoreCell(row, score),
  })),
  { key: "best", label: "Minus best", of: (row) => row.best?.difference ?? null,
    text: (row) => differenceText(row.best, row.[[ criterion ]].best ? "best" : "–"),
    cell: (row) => differenceCell(row.best, row.[[ criterion ]].best ? "best" : "–") },
  { key: "no_op", label: "Minus [[ baseline ]]", of: (row) => row.no_op?.difference ?? null,
    text: (row) => differenceText(row.no_op, "–"), cell: (row) => differenceCell(row.no_op, "–") },
  { key: "n", label: "[[ Unit ]]", of: (row) => [[ total ]], text: (row) => `[[ counts ]]`, cell: countCell },
];
const plain = (key, label, of, text) =>
  ({ key, label, of, text, cell: (line) => make("td", {}, text(line)), constant: true });
const COLUMNS = [
  { key: "method", label: "Method", of: (line) => methodOrder.get(line.method), text: (line) => line.method,
    cell: methodCell },
  plain("attribute", "Attribute", (line) => attributeOrder.get(line.attribute), (line) => line.attribute || "mean"),
  plain("partition", "Partition", (line) => partitionOrder.get(line.partition),
    (line) => PARTITIONS[line.partition] ?? line.partition),
  plain("kind", "Source kind", (line) => kindOrder.get(line.kind), (line) => KINDS[line.kind] ?? line.kind),
  ...data.generalisations.flatMap((group) => SCORED.map((column) => ({
    ...column, key: `${group}.${column.key}`, choice: column.key, group, number: true,
    constant: column.key === "n",
    of: (line) => (line.by[group] ? column.of(line.by[group]) : null),
    text: (line) => (line.by[group] ? column.text(line.by[group]) : "–"),
    cell: (line) => (line.by[group] ? column.cell(line.by[group]) : make("td", { class: "number-cell" }, "–")),
  }))),
  { key: "passes", label: "Passes", choice: "passes", number: true, constant: true, of: (line) => line.passes,
    text: (line) => passesText(line.passes), cell: passesCell },
  { ...plain("detail", "Chosen site and size", (line) => line.detail, (line) => line.detail), choice: "detail",
    cell: detailCell },
];
const CHOICES = [...SCORED, { key: "passes", label: "Passes" },
  { key: "detail", label: "Chosen site and size" }];

const resultsDefaults = {
  attribute: data.rows.some((row) => row.attribute === "") ? "" : ANY,
  generalisation: ANY, partition: data.partitions[0] ?? ANY, kind: data.kinds[0] ?? ANY,
  family: ANY, find: "", sort: `${data.generalisations[0]}.[[ criterion ]]`, order: "[[ order ]]",
  columns: [...MEASURES, "no_op", "passes", "detail"].join(),
};
let results = { ...resultsDefaults };
let allRows = false;

function methodCell(row) {
  const name = judged.has(row.method)
    ? make("a", { href: pairsAddressOf(row), "data-tip": "Show what it answered, pair by pair" },
      ...breakable(row.method))
    : make("span", {}, ...breakable(row.method));
  return make("th", { scope: "row" }, name, make("small", {}, family.get(row.method) ?? ""));
}

const passesText = (passes) => (passes === null ? "–" : passes.toLocaleString("en"));

function passesCell(line) {
  const tip = "pairs and prompts that the model was asked to read for the fit, three times where it went back";
  return make("td", { class: "number-cell", "data-tip": tip }, passesText(line.passes));
}

const numberOr = (value, otherwise) => (value === null ? otherwise : fixed(value));

function scoreCell(row, score) {
  const { value, interval, best } = row[score];
  if (value === null) return make("td", { class: "number-cell" }, "–", make("small", {}, "no [[ unit ]]"));
  const below = score === "[[ criterion ]]" && row.below;
  const text = fixed(value) + (below ? "†" : "");
  const shown = best ? make("strong", {}, text, make("span", { class: "hidden" }, " best")) : text;
  const ends = interval ? `${fixed(interval[0])} – ${fixed(interval[1])}` : "";
  const tips = [ends && `95 % interval ${ends}`, below && "beyond what doing nothing scores"].filter(Boolean);
  const cell = make("td", { class: "number-cell", "data-tip": tips.join("; ") || null }, shown);
  if (score === "[[ criterion ]]") cell.append(strip(value, interval));
  if (interval) cell.append(make("small", { class: "interval" }, ends));
  return cell;
}

/** A bar from 0 to 1 with the interval, the value and what doing nothing scores. */
function strip(value, interval) {
  const bar = make("div", { class: "strip", "aria-hidden": "true" });
  const half = make("i", { class: "half" });
  half.style.left = "[[ nothing ]]";
  bar.append(half);
  if (interval) {
    const range = make("i", { class: "range" });
    range.style.left = `${100 * interval[0]}%`;
    range.style.width = `${100 * (interval[1] - interval[0])}%`;
    bar.append(range);
  }
  const point = make("i", { class: "point" });
  point.style.left = `${100 * value}%`;
  bar.append(point);
  return bar;
}

const differenceText = (found, otherwise) => (found ? signed(found.difference) : otherwise);

function differenceCell(found, otherwise) {
  if (!found) return make("td", { class: "number-cell" }, otherwise);
  const verdict = found.differs ? "differs" : "tied";
  const p = found.p === null ? "" : `, p ${found.p < 0.001 ? "< 0.001" : `= ${fixed(found.p)}`}`;
  return make("td", { class: "number-cell", "data-tip": `compared with ${found.other}` },
    signed(found.difference), make("small", {}, verdict + p));
}

function countCell(row) {
  const seeds = row.seeds > 1 ? `, ${row.seeds} seeds` : "";
  return make("td", { class: "number-cell" }, `[[ counts ]]`,
    make("small", {}, `[[ counted ]]${seeds}`));
}

function detailCell(row) {
  const [sites, size] = row.detail.split("; ");
  return make("td", { class: "where" }, ...breakable(sites ?? ""), make("small", {}, size ?? ""));
}

function rowsShown() {
  const { attribute, partition, kind } = results;
  const wanted = { attribute, partition, kind };
  const find = results.find.trim().toLowerCase();
  return lines.filter((row) =>
    Object.entries(wanted).every(([name, value]) => value === ANY || row[name] === value)
    && (results.generalisation === ANY || results.generalisation in row.by)
    && (results.family === ANY || family.get(row.method) === results.family)
    && row.method.toLowerCase().includes(find));
}

/** The columns that were chosen, and apart from them those that say the same in every row. */
function columnsOf(rows) {
  const chosen = results.columns.split(",");
  const open = COLUMNS.filter((column) => (!column.choice || chosen.includes(column.choice))
    && (!column.group || results.generalisation === ANY || column.group === results.generalisation));
  const alike = (column) => column.constant && new Set(rows.map(column.text)).size < 2;
  return [open.filter((column) => !alike(column)), open.filter(alike)];
}

function sortRows(rows, columns) {
  const column = columns.find(({ key }) => key === results.sort)
    ?? columns.find(({ choice }) => choice === "[[ criterion ]]") ?? COLUMNS[0];
  const sign = results.order === "ascending" ? 1 : -1;
  return rows.map((row) => [column.of(row), row]).sort(([a, first], [b, second]) => {
    // What is missing comes last in either direction.
    if (a === null || b === null) return (a === null) - (b === null);
    const compared = typeof a === "string" ? a.localeCompare(b) : a - b;
    return sign * compared || methodOrder.get(first.method) - methodOrder.get(second.method);
  }).map(([, row]) => row);
}

function headCell(column, rowspan) {
  const sorted = column.key === results.sort ? results.order : "none";
  const arrow = { ascending: "▲", descending: "▼", none: "↕" }[sorted];
  const button = make("button", { type: "button", class: "sort", "data-key": column.key },
    column.label, make("span", { "aria-hidden": "true" }, arrow));
  button.addEventListener("click", () => sortBy(column));
  return make("th", { scope: "col", "aria-sort": sorted, rowspan, class: column.number ? "number-cell" : null },
    button);
}

function drawHead(columns) {
  const upper = make("tr");
  for (const column of columns) {
    if (!column.group) upper.append(headCell(column, 2));
    else if (upper.lastChild?.dataset.group !== column.group) {
      const colspan = columns.filter(({ group }) => group === column.group).length;
      upper.append(make("th", { scope: "colgroup", colspan, "data-group": column.group, class: "group" },
        HELD_OUT[column.group] ?? column.group));
    }
  }
  const lower = columns.filter(({ group }) => group).map((column) => headCell(column, null));
  byId("results-head").replaceChildren(upper, make("tr", {}, ...lower));
}

function sortBy(column) {
  const turned = results.order === "descending" ? "ascending" : "descending";
  const atFirst = column.number ? "descending" : "ascending";
  changeResults({ sort: column.key, order: results.sort === column.key ? turned : atFirst });
  // The header was drawn anew; the keyboard must stay where it was.
  byId("results-head").querySelector(`[data-key="${column.key}"]`).focus();
}

function changeResults(changes) {
  results = { ...results, ...changes };
  drawResults();
  writeAddress(addressOf("results", results, resultsDefaults));
}

function drawResults() {
  const found = rowsShown();
  const [columns, alike] = columnsOf(found);
  const rows = sortRows(found, columns);
  const drawn = allRows ? rows : rows.slice(0, ROWS_AT_FIRST);
  drawHead(columns);
  byId("results-body").replaceChildren(...drawn.map((row) => tableRow(row, columns)));
  const same = new Map(alike.map((column) => [column.label, rows.length ? column.text(rows[0]) : ""]));
  byId("results-count").textContent = rows.length
    ? [`${grouped(rows.length)} of ${grouped(lines.length)} rows`,
      ...[...same].map(([label, text]) => `${label.toLowerCase()}: ${text}`)].join(" · ")
    : "No row matches these filters.";
  byId("results-more").hidden = drawn.length === rows.length;
  byId("results-more").textContent = `Show all ${grouped(rows.length)} rows`;
  for (const box of byId("results-columns").elements) {
    box.checked = results.columns.split(",").includes(box.name);
  }
}

function tableRow(row, columns) {
  const attributes = { class: row.floor ? "floor" : null, tabindex: judged.has(row.method) ? null : "0" };
  return make("tr", attributes, ...columns.map((column) => column.cell(row)));
}

// ------------------------------------------------------------------ the table as text

const LATEX = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "−": "$-$" };
const WRITERS = {
  csv: (rows) => rows.map((row) => row.map((text) =>
    (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text.replace("−", "-"))).join()),
  markdown: ([head, ...rows]) => [head, head.map(() => "---"), ...rows].map((row) =>
    `| ${row.map((text) => text.replaceAll("|", "\\|")).join(" | ")} |`),
  latex: (rows, columns) => {
    const [head, ...body] = rows.map((row) => `${row.map((text) => text.replace(/[\\~^−]|[&%$#_{}]/g, (sign) =>
      LATEX[sign] ?? `\\${sign}`)).join(" & ")} \\\\`);
    return [`\\begin{tabular}{${columns.map(({ number }) => (number ? "r" : "l")).join("")}}`, "\\toprule", head,
      "\\midrule", ...body, "\\bottomrule", "\\end{tabular}"];
  },
};

/** The rows and columns that are shown, as text. */
function tableText(format) {
  const found = rowsShown();
  const [columns] = columnsOf(found);
  const head = columns.map(({ group, label }) => (group ? `${group} ${label}` : label));
  const body = sortRows(found, columns).map((row) => columns.map((column) => column.text(row)));
  return `${WRITERS[format]([head, ...body], columns).join("\n")}\n`;
}

async function copyTable(button) {
  const text = tableText(button.dataset.format);
  try {
    await navigator.clipboard.writeText(text);
    byId("results-copied").textContent = `Copied as ${button.textContent}.`;
  } catch {
    // A viewer that gives no clipboard still lets one select.
    show(make("textarea", { readonly: true, rows: 20, "aria-label": "The table as text" }, text));
  }
}

function setUpResults() {
  const means = data.rows.some((row) => row.attribute === "") ? [["", "the mean"]] : [];
  const attributes = data.attributes.map((name) => [name, name]);
  const any = (options, text) => (options.length > 1 ? [[ANY, text], ...options] : options);
  fillSelect(byId("results-attribute"), [...means, [ANY, "mean and each"], ...attributes]);
  fillSelect(byId("results-generalisation"), any(worded(data.generalisations, HELD_OUT), "all"));
  fillSelect(byId("results-partition"), any(worded(data.partitions, PARTITIONS), "both"));
  fillSelect(byId("results-kind"), any(worded(data.kinds, KINDS), "every breakdown"));
  fillSelect(byId("results-family"), [[ANY, "any"], ...data.families.map((name) => [name, name])]);
  byId("results-columns").append(...CHOICES.map(({ key, label }) =>
    make("label", {}, make("input", { type: "checkbox", name: key }), label)));
  byId("results-columns").addEventListener("change", () => {
    const boxes = [...byId("results-columns").elements].filter((box) => box.checked);
    changeResults({ columns: boxes.map((box) => box.name).join() });
  });
  for (const button of document.querySelectorAll("[data-format]")) {
    button.addEventListener("click", () => copyTable(button));
  }
  listen("results-filters", () => {
    allRows = false;
    changeResults(valuesOf("results-filters"));
  });
  byId("results-more").addEventListener("click", () => {
    allRows = true;
    drawResults();
  });
}
