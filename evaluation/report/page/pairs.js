// The browser of single pairs and what was answered; it knows no scores.

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
