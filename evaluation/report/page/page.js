// The start of the page: what its address asks for is shown.

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

setUpPlots();
setUpTips();
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
