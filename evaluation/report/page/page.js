"use strict";

(() => {
  const ANY = "*";
  const ROWS_AT_FIRST = 200;
  const PAIRS_OF_A_PAGE = 20;
  const HELD_OUT = {
    context: "new templates (context)",
    entity: "new entities (entity)",
    entity_context: "both (entity_context)",
  };
  const PARTITIONS = { test: "test", val: "validation" };
  const KINDS = {
    all: "all pairs",
    same_attribute: "asks for the same attribute",
    other_attribute: "asks for another attribute",
    attribute_free: "asks for nothing",
  };
  const SPLITS = { val: "validation", test: "test" };

  const data = JSON.parse(document.getElementById("report-data").textContent);
  const byId = (id) => document.getElementById(id);

  /** Make an element; strings among the children become text, never markup. */
  function make(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children.filter((child) => child !== null));
    return made;
  }

  /** Let a long name break where its parts meet. */
  function breakable(name) {
    return name.split(/(?<=[_@])/).flatMap((part) => [part, make("wbr")]).slice(0, -1);
  }

  function fillSelect(select, options) {
    select.replaceChildren(...options.map(([value, text]) => make("option", { value }, text)));
    // A choice of one is no choice, but it tells what is shown.
    select.disabled = options.length < 2;
  }

  const has = (select, value) => [...select.options].some((option) => option.value === value);
  const worded = (names, words) => names.map((name) => [name, words[name] ?? name]);
  const fixed = (value, digits = 3) => value.toFixed(digits).replace("-", "−");
  const signed = (value) => (value > 0 ? "+" : "") + fixed(value);
  const grouped = (count) => count.toLocaleString("en");

  // ------------------------------------------------------------------ where the page stands: its address

  /** Read "#pairs?split=a&page=2" as section and values; null for a plain anchor. */
  function readAddress() {
    const [section, query] = location.hash.slice(1).split("?");
    return query === undefined ? null : { section, values: new URLSearchParams(query) };
  }

  function addressOf(section, values, defaults) {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(values)) {
      if (String(value) !== String(defaults[name])) query.set(name, value);
    }
    return `#${section}?${query}`;
  }

  function writeAddress(address) {
    try {
      history.replaceState(null, "", address);
    } catch {
      // Some viewers allow no change of a file's address; the page works without.
    }
  }

  // ------------------------------------------------------------------ results

  const family = new Map(data.methods.map((method) => [method.name, method.family]));
  const methodOrder = new Map(data.methods.map((method, index) => [method.name, index]));
  const judged = new Set((data.pairs?.cells ?? []).map(([method]) => method));
  const order = (names) => new Map(names.map((name, index) => [name, index]));
  const attributeOrder = order(["", ...data.attributes]);
  const generalisationOrder = order(data.generalisations);
  const partitionOrder = order(data.partitions);
  const kindOrder = order(data.kinds);

  const COLUMNS = [
    { key: "method", label: "Method", of: (row) => methodOrder.get(row.method), cell: methodCell },
    { key: "attribute", label: "Attribute", of: (row) => attributeOrder.get(row.attribute), cell: attributeCell },
    { key: "generalisation", label: "Held out", of: (row) => generalisationOrder.get(row.generalisation),
      cell: splitCell },
    { key: "kind", label: "Source kind", of: (row) => kindOrder.get(row.kind), optional: "kinds",
      cell: (row) => make("td", {}, KINDS[row.kind] ?? row.kind) },
    ...[[ measures ]].map((score) => ({
      key: score, label: score[0].toUpperCase() + score.slice(1), number: true,
      of: (row) => row[score].value, cell: (row) => scoreCell(row, score),
    })),
    { key: "best", label: "Minus best", number: true, of: (row) => row.best?.difference ?? null,
      cell: (row) => differenceCell(row.best, row.[[ criterion ]].best ? "best" : "–") },
    { key: "no_op", label: "Minus [[ baseline ]]", number: true, of: (row) => row.no_op?.difference ?? null,
      cell: (row) => differenceCell(row.no_op, "–") },
    { key: "n", label: "[[ Unit ]]", number: true, of: (row) => [[ total ]], cell: countCell },
    { key: "detail", label: "Chosen site and size", of: (row) => row.detail, cell: detailCell },
  ].filter((column) => !column.optional || data[column.optional].length > 1);

  const resultsDefaults = {
    attribute: data.rows.some((row) => row.attribute === "") ? "" : ANY,
    generalisation: ANY, partition: data.partitions[0] ?? ANY, kind: data.kinds[0] ?? ANY,
    family: ANY, find: "", sort: "[[ criterion ]]", order: "[[ order ]]",
  };
  let results = { ...resultsDefaults };
  let allRows = false;

  function methodCell(row) {
    const name = judged.has(row.method)
      ? make("a", { href: pairsAddressOf(row), title: "Show what it answered, pair by pair" },
        ...breakable(row.method))
      : make("span", {}, ...breakable(row.method));
    return make("th", { scope: "row" }, name, make("small", {}, family.get(row.method) ?? ""));
  }

  function attributeCell(row) {
    return make("td", {}, row.attribute === "" ? make("em", {}, "mean") : row.attribute);
  }

  function splitCell(row) {
    return make("td", {}, row.generalisation, make("small", {}, PARTITIONS[row.partition] ?? row.partition));
  }

  function scoreCell(row, score) {
    const { value, interval, best } = row[score];
    if (value === null) return make("td", { class: "number-cell" }, "–", make("small", {}, "no [[ unit ]]"));
    const below = score === "[[ criterion ]]" && row.below;
    const text = fixed(value) + (below ? "†" : "");
    const shown = best ? make("strong", {}, text, make("span", { class: "hidden" }, " best")) : text;
    const cell = make("td", { class: "number-cell", title: below ? "beyond what doing nothing scores" : null }, shown);
    if (score === "[[ criterion ]]") cell.append(strip(value, interval));
    if (interval) cell.append(make("small", {}, `${fixed(interval[0])} – ${fixed(interval[1])}`));
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

  function differenceCell(found, otherwise) {
    if (!found) return make("td", { class: "number-cell" }, otherwise);
    const verdict = found.differs ? "differs" : "tied";
    const p = found.p === null ? "" : `, p ${found.p < 0.001 ? "< 0.001" : `= ${fixed(found.p)}`}`;
    return make("td", { class: "number-cell", title: `compared with ${found.other}` }, signed(found.difference),
      make("small", {}, verdict + p));
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
    const { attribute, generalisation, partition, kind } = results;
    const wanted = { attribute, generalisation, partition, kind };
    const find = results.find.trim().toLowerCase();
    return data.rows.filter((row) =>
      Object.entries(wanted).every(([name, value]) => value === ANY || row[name] === value)
      && (results.family === ANY || family.get(row.method) === results.family)
      && row.method.toLowerCase().includes(find));
  }

  function sortRows(rows) {
    const column = COLUMNS.find((candidate) => candidate.key === results.sort) ?? COLUMNS[0];
    const sign = results.order === "ascending" ? 1 : -1;
    return rows.map((row) => [column.of(row), row]).sort(([a, first], [b, second]) => {
      // What is missing comes last in either direction.
      if (a === null || b === null) return (a === null) - (b === null);
      const compared = typeof a === "string" ? a.localeCompare(b) : a - b;
      return sign * compared || methodOrder.get(first.method) - methodOrder.get(second.method);
    }).map(([, row]) => row);
  }

  function drawHead() {
    byId("results-head").replaceChildren(...COLUMNS.map((column) => {
      const sorted = column.key === results.sort ? results.order : "none";
      const arrow = { ascending: "▲", descending: "▼", none: "↕" }[sorted];
      const button = make("button", { type: "button", class: "sort", "data-key": column.key },
        column.label, make("span", { "aria-hidden": "true" }, arrow));
      button.addEventListener("click", () => sortBy(column));
      return make("th", { scope: "col", "aria-sort": sorted, class: column.number ? "number-cell" : null }, button);
    }));
  }

  function sortBy(column) {
    const turned = results.order === "descending" ? "ascending" : "descending";
    const atFirst = column.number ? "descending" : "ascending";
    results = { ...results, sort: column.key, order: results.sort === column.key ? turned : atFirst };
    drawResults();
    // The header was drawn anew; the keyboard must stay where it was.
    byId("results-head").querySelector(`[data-key="${column.key}"]`).focus();
    writeAddress(addressOf("results", results, resultsDefaults));
  }

  function drawResults() {
    const rows = sortRows(rowsShown());
    const drawn = allRows ? rows : rows.slice(0, ROWS_AT_FIRST);
    drawHead();
    byId("results-body").replaceChildren(...drawn.map(tableRow));
    byId("results-count").textContent = rows.length
      ? `${grouped(rows.length)} of ${grouped(data.rows.length)} rows` : "No row matches these filters.";
    byId("results-more").hidden = drawn.length === rows.length;
    byId("results-more").textContent = `Show all ${grouped(rows.length)} rows`;
  }

  function tableRow(row) {
    const attributes = { class: row.floor ? "floor" : null, tabindex: judged.has(row.method) ? null : "0" };
    return make("tr", attributes, ...COLUMNS.map((column) => column.cell(row)));
  }

  function setUpResults() {
    const means = data.rows.some((row) => row.attribute === "") ? [["", "the mean"]] : [];
    const attributes = data.attributes.map((name) => [name, name]);
    const any = (options, text) => (options.length > 1 ? [[ANY, text], ...options] : options);
    fillSelect(byId("results-attribute"), [...means, [ANY, "mean and each"], ...attributes]);
    fillSelect(byId("results-generalisation"), [[ANY, "any"], ...worded(data.generalisations, HELD_OUT)]);
    fillSelect(byId("results-partition"), any(worded(data.partitions, PARTITIONS), "both"));
    fillSelect(byId("results-kind"), any(worded(data.kinds, KINDS), "every breakdown"));
    fillSelect(byId("results-family"), [[ANY, "any"], ...data.families.map((name) => [name, name])]);
    listen("results-filters", () => {
      results = { ...results, ...valuesOf("results-filters") };
      allRows = false;
      drawResults();
      writeAddress(addressOf("results", results, resultsDefaults));
    });
    byId("results-more").addEventListener("click", () => {
      allRows = true;
      drawResults();
    });
  }

  // ------------------------------------------------------------------ forms

  function listen(form, changed) {
    const only = (tag) => (event) => event.target.tagName === tag && changed();
    byId(form).addEventListener("change", only("SELECT"));
    byId(form).addEventListener("input", only("INPUT"));
    byId(form).addEventListener("submit", (event) => event.preventDefault());
  }

  const valuesOf = (form) =>
    Object.fromEntries([...byId(form).elements].map((control) => [control.name, control.value]));

  /** Put values into a form; what a select does not offer takes its default. */
  function setForm(form, values, defaults) {
    for (const control of byId(form).elements) {
      const wanted = values[control.name];
      control.value = control.tagName === "SELECT" && !has(control, wanted) ? defaults[control.name] : wanted;
    }
  }

  // ------------------------------------------------------------------ pairs

  const ROLES = [[ANY, "any"], ["cause", "cause"], ["isolate", "isolate"]];
  const ANSWERS = [
    [ANY, "any"], ["right", "right: as expected"], ["wrong", "wrong: not as expected"],
    ["s", "the source's answer"], ["u", "the base's answer"], ["n", "something else"],
  ];
  const SAID = { s: "the source's answer", u: "the base's answer", n: "something else", b: "both answers" };
  const bySplit = new Map((data.pairs?.splits ?? []).map((split) => [split.name, split]));
  const splitNames = [...bySplit.keys()];
  const seeds = [...new Set((data.pairs?.cells ?? []).map(([, , seed]) => seed))].sort((a, b) => a - b);
  const cells = new Map((data.pairs?.cells ?? []).map(([method, attribute, seed, cell]) =>
    [JSON.stringify([method, attribute, seed]), cell]));

  const pairsDefaults = {
    split: splitNames.find((name) => name.endsWith("_test")) ?? splitNames[0] ?? "",
    target: data.attributes[0] ?? "", method: ANY, seed: String(seeds[0] ?? 0), role: ANY, kind: ANY,
    answer: ANY, find: "", page: 1,
  };
  let pairs = { ...pairsDefaults };

  function pairsAddressOf(row) {
    const split = `${row.generalisation}_${row.partition}`;
    return addressOf("pairs", {
      split: bySplit.has(split) ? split : pairsDefaults.split,
      target: row.attribute === "" ? pairsDefaults.target : row.attribute,
      method: row.method,
      kind: data.pairs?.kinds.includes(row.kind) ? row.kind : ANY,
    }, pairsDefaults);
  }

  /** The methods that are looked at, each with its answers on the split as a string of letters. */
  function readers() {
    const answers = bySplit.get(pairs.split).answers;
    const shown = data.methods.filter(({ name }) => pairs.method === ANY || name === pairs.method);
    return shown.map(({ name }) => {
      const own = seedsOf(name);
      const seed = own.includes(Number(pairs.seed)) ? Number(pairs.seed) : own[0];
      return { name, letters: answers[cells.get(JSON.stringify([name, pairs.target, seed]))] ?? "" };
    });
  }

  // What draws nothing at random is fitted for one seed, which then stands for all of them.
  const seedsOf = (method) =>
    seeds.filter((seed) => cells.has(JSON.stringify([method, pairs.target, seed])));

  function pairOf(fields, index) {
    const [id, asked, kind, base, source, swapped, unchanged] = fields;
    const attribute = data.pairs.asked[asked];
    const role = attribute === pairs.target ? "cause" : "isolate";
    return {
      id, index, attribute, role, kind: data.pairs.kinds[kind], expected: role === "cause" ? "s" : "u",
      base: data.pairs.prompts[base], source: data.pairs.prompts[source],
      swapped: data.pairs.labels[swapped], unchanged: data.pairs.labels[unchanged],
    };
  }

  const isRight = (letter, pair) => letter === pair.expected;

  function answered(letter, pair) {
    if (letter === undefined || letter === ".") return false;
    if (pairs.answer === "right") return isRight(letter, pair);
    if (pairs.answer === "wrong") return !isRight(letter, pair);
    return letter === pairs.answer;
  }

  function holds(pair, find) {
    const texts = [pair.id, pair.base[0], pair.source[0], pair.swapped, pair.unchanged];
    return texts.some((text) => text.toLowerCase().includes(find));
  }

  function pairsShown(methods) {
    const find = pairs.find.trim().toLowerCase();
    return bySplit.get(pairs.split).pairs.map(pairOf).filter((pair) =>
      (pairs.role === ANY || pair.role === pairs.role)
      && (pairs.kind === ANY || pair.kind === pairs.kind)
      && (find === "" || holds(pair, find))
      && (pairs.answer === ANY || methods.some(({ letters }) => answered(letters[pair.index], pair))));
  }

  function prompt([text, start, end], ...after) {
    return make("dd", {}, text.slice(0, start), make("mark", {}, text.slice(start, end)), text.slice(end),
      ...after);
  }

  function quoted(label) {
    return `“${label.trim()}”`;
  }

  function pairCard(pair, methods) {
    const link = addressOf("pairs", { ...pairs, find: pair.id, page: 1 }, pairsDefaults);
    const expected = pair.role === "cause" ? "the source's answer" : "the base's answer";
    return make("article", { class: "pair", "data-pair": pair.id },
      make("header", {},
        make("span", { class: `chip ${pair.role}` }, pair.role),
        make("h3", {}, `expected: ${expected}`),
        make("span", {}, `base asks for ${pair.attribute}; source ${KINDS[pair.kind]}`),
        make("a", { href: link }, pair.id)),
      make("dl", {},
        make("dt", {}, "Base"), prompt(pair.base), make("dt", {}, "Source"), prompt(pair.source)),
      make("ul", { class: "answers" }, ...answerGroups(pair, methods)));
  }

  /** Methods by what they answered; the two labels are shown even where nobody gave them. */
  function answerGroups(pair, methods) {
    return ["s", "u", "b", "n"].map((letter) => {
      const names = methods.filter(({ letters }) => letters[pair.index] === letter).map(({ name }) => name);
      if (names.length === 0 && letter !== "s" && letter !== "u") return null;
      return answerGroup(pair, letter, names);
    }).filter((group) => group !== null);
  }

  function answerGroup(pair, letter, names) {
    const label = { s: quoted(pair.swapped), u: quoted(pair.unchanged) }[letter] ?? SAID[letter];
    const right = isRight(letter, pair);
    const small = `${letter in SAID && label !== SAID[letter] ? SAID[letter] : "neither label"}`
      + (right ? ", expected" : "");
    const chips = names.length ? names.map((name) => make("span", { class: "chip" }, name))
      : [make("span", { class: "nobody" }, "no method shown")];
    return make("li", { class: right ? "right" : "wrong", "data-answer": letter },
      make("span", { class: "said" }, make("b", {}, label), make("small", {}, small)), ...chips);
  }

  function drawPairs() {
    const methods = readers();
    const found = pairsShown(methods);
    const pages = Math.max(1, Math.ceil(found.length / PAIRS_OF_A_PAGE));
    pairs.page = Math.min(Math.max(1, Number(pairs.page) || 1), pages);
    const first = (pairs.page - 1) * PAIRS_OF_A_PAGE;
    const page = found.slice(first, first + PAIRS_OF_A_PAGE);
    byId("pairs-list").replaceChildren(...page.map((pair) => pairCard(pair, methods)));
    byId("pairs-count").textContent = countText(found, methods);
    byId("pairs-page").textContent = `Page ${pairs.page} of ${pages}`;
    byId("pairs-previous").disabled = pairs.page === 1;
    byId("pairs-next").disabled = pairs.page === pages;
  }

  function countText(found, methods) {
    const split = bySplit.get(pairs.split);
    const kept = split.pairs.length;
    const thinned = kept < split.total
      ? ` This page holds ${grouped(kept)} of the split's ${grouped(split.total)} pairs, evenly spaced.` : "";
    if (!found.length) return `No pair matches these filters.${thinned}`;
    const matched = `${grouped(found.length)} of ${grouped(kept)} pairs match.`;
    return [matched, shareText(found, methods), thinned.trim()].filter(Boolean).join(" ");
  }

  function shareText(found, methods) {
    if (methods.length !== 1) {
      return pairs.answer === ANY ? "" : "At least one method shown answered so.";
    }
    const [{ name, letters }] = methods;
    const known = found.filter((pair) => (letters[pair.index] ?? ".") !== ".");
    if (!known.length) return `${name} was not judged here for this target.`;
    const right = known.filter((pair) => isRight(letters[pair.index], pair)).length;
    return `${name} answered ${grouped(right)} of them as expected.`;
  }

  function turnPage(step) {
    pairs = { ...pairs, page: Number(pairs.page) + step };
    drawPairs();
    writeAddress(addressOf("pairs", pairs, pairsDefaults));
    byId("pairs-filters").scrollIntoView({ block: "start" });
  }

  function splitWords(name) {
    const cut = name.lastIndexOf("_");
    const [generalisation, partition] = [name.slice(0, cut), name.slice(cut + 1)];
    return `${generalisation}, ${SPLITS[partition] ?? partition}`;
  }

  function setUpPairs() {
    const methods = data.methods.map(({ name }) => [name, name]);
    fillSelect(byId("pairs-split"), splitNames.map((name) => [name, splitWords(name)]));
    fillSelect(byId("pairs-target"), data.attributes.map((name) => [name, name]));
    fillSelect(byId("pairs-method"), [[ANY, "all methods"], ...methods]);
    fillSelect(byId("pairs-seed"), seeds.map((seed) => [String(seed), String(seed)]));
    fillSelect(byId("pairs-role"), ROLES);
    fillSelect(byId("pairs-kind"), [[ANY, "any"], ...worded(data.pairs.kinds, KINDS)]);
    fillSelect(byId("pairs-answer"), ANSWERS);
    byId("pairs-seed-label").hidden = seeds.length < 2;
    listen("pairs-filters", () => {
      pairs = { ...pairs, ...valuesOf("pairs-filters"), page: 1 };
      drawPairs();
      writeAddress(addressOf("pairs", pairs, pairsDefaults));
    });
    byId("pairs-previous").addEventListener("click", () => turnPage(-1));
    byId("pairs-next").addEventListener("click", () => turnPage(1));
  }

  function withoutPairs() {
    byId("pairs-filters").hidden = true;
    byId("pairs-pager").hidden = true;
    byId("pairs-count").textContent = "The run's folder holds no outcomes of chosen points, or no instance.";
  }

  // ------------------------------------------------------------------ start

  const stored = (values, defaults) =>
    Object.fromEntries(Object.keys(defaults).map((name) => [name, values.get(name) ?? defaults[name]]));

  function applyAddress() {
    const address = readAddress();
    if (address?.section === "results") {
      results = stored(address.values, resultsDefaults);
      setForm("results-filters", results, resultsDefaults);
      results = { ...results, ...valuesOf("results-filters") };
      drawResults();
    }
    if (address?.section === "pairs" && data.pairs) {
      pairs = stored(address.values, pairsDefaults);
      setForm("pairs-filters", pairs, pairsDefaults);
      pairs = { ...pairs, ...valuesOf("pairs-filters") };
      drawPairs();
    }
    if (address && ["results", "pairs"].includes(address.section)) byId(address.section).scrollIntoView();
  }

  setUpResults();
  setForm("results-filters", results, resultsDefaults);
  drawResults();
  if (data.pairs) {
    setUpPairs();
    setForm("pairs-filters", pairs, pairsDefaults);
    drawPairs();
  } else {
    withoutPairs();
  }
  applyAddress();
  addEventListener("hashchange", applyAddress);
})();
