// What all parts of the page use: its data, elements, forms and address; it knows no table and no pairs.

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
