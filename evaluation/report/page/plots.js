// What is looked at more closely: plots in a window of their own, short explanations at the pointer.

let takenFrom = null;

/** Show something in the window; a plot goes back to its place when it is closed. */
function show(content) {
  byId("viewer-body").replaceChildren(content);
  byId("viewer").showModal();
}

function enlarge(sheet) {
  // The page must not move under the window.
  sheet.style.minHeight = `${sheet.offsetHeight}px`;
  takenFrom = sheet;
  show(sheet.firstElementChild);
}

function setUpPlots() {
  for (const button of document.querySelectorAll(".enlarge")) {
    const sheet = button.closest("figure").querySelector(".sheet");
    for (const part of [button, sheet]) part.addEventListener("click", () => enlarge(sheet));
  }
  const viewer = byId("viewer");
  byId("viewer-close").addEventListener("click", () => viewer.close());
  viewer.addEventListener("click", (event) => event.target === viewer && viewer.close());
  viewer.addEventListener("close", () => {
    if (!takenFrom) return;
    takenFrom.append(byId("viewer-body").firstElementChild);
    takenFrom.style.minHeight = "";
    takenFrom = null;
  });
}

/** Say what lies at the pointer, the finger or the keyboard, where something has more to say. */
function setUpTips() {
  const tip = byId("tip");
  const tell = (target, x, y) => {
    const at = target.closest?.("[data-tip]");
    tip.hidden = !at;
    if (!at) return;
    // What lies over the page in a window would hide it.
    (at.closest("dialog") ?? document.body).append(tip);
    tip.textContent = at.dataset.tip;
    tip.style.left = `${Math.max(4, Math.min(x + 12, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${y + 18 + tip.offsetHeight > innerHeight ? y - tip.offsetHeight - 10 : y + 18}px`;
  };
  addEventListener("pointerover", (event) => tell(event.target, event.clientX, event.clientY));
  addEventListener("focusin", ({ target }) => {
    const { left, bottom } = target.getBoundingClientRect();
    if (target.matches(":focus-visible")) tell(target, left, bottom - 10);
  });
  addEventListener("keydown", (event) => event.key === "Escape" && (tip.hidden = true));
  addEventListener("scroll", () => (tip.hidden = true), true);
}
