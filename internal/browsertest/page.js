// The harness's eyes and fingers in the page. Evaluated through the protocol, so that it works under any
// Content-Security-Policy and with scripts switched off; it leaves nothing behind.
(() => {
  const squash = (text) => text.replace(/\s+/g, " ").trim();
  const name = (e) =>
    e.tagName.toLowerCase() + (e.id ? "#" + e.id : "") + [...e.classList].slice(0, 3).map((c) => "." + c).join("");

  const all = (selector) => {
    const [, css, text] = selector.match(/^(.*):text\("(.*)"\)$/s) ?? [null, selector];
    const found = [...document.querySelectorAll(css || "*")];
    return text === undefined ? found : found.filter((e) => squash(e.innerText ?? "").includes(text));
  };
  const visible = (e) => e.checkVisibility({ visibilityProperty: true }) && e.getClientRects().length > 0;
  const first = (selector) => {
    const found = all(selector);
    return found.find(visible) ?? found[0];
  };
  const changed = (e) => {
    e.dispatchEvent(new Event("input", { bubbles: true }));
    e.dispatchEvent(new Event("change", { bubbles: true }));
  };

  return {
    count: (selector) => all(selector).length,
    anyVisible: (selector) => all(selector).some(visible),
    text: (selector) => first(selector)?.innerText.trim(),
    value: (selector) => first(selector)?.value,
    checked: (selector) => first(selector)?.checked,

    // Where to press the mouse, or why a person could not.
    target: (selector) => {
      const e = first(selector);
      if (!e) return { problem: "it is not on the page" };
      if (!visible(e)) return { problem: "it is not visible" };
      if (e.matches(":disabled")) return { problem: "it is disabled" };
      const middle = () => {
        const box = e.getClientRects()[0];
        return { x: box.left + box.width / 2, y: box.top + box.height / 2 };
      };
      const reached = (hit) => hit && (e.contains(hit) || hit.closest("label")?.control === e);
      let { x, y } = middle();
      if (!reached(document.elementFromPoint(x, y))) { // a person would scroll to it, also inside a dialog
        e.scrollIntoView({ block: "center", inline: "center", behavior: "instant" });
        ({ x, y } = middle());
      }
      const hit = document.elementFromPoint(x, y);
      if (!hit) return { problem: "it is outside the window" };
      if (!reached(hit)) return { problem: "it is covered by " + name(hit) };
      return { x, y };
    },

    // Prepares a field for typing; says "typed" where the text then comes from the keyboard, "set" where a widget of
    // the browser's own (date, colour, list) stands in the way and the value was put in.
    enter: (selector, text) => {
      const e = first(selector);
      if (e.tagName === "SELECT") {
        const option = [...e.options].find((o) => o.value === text) ?? [...e.options].find((o) => squash(o.text) === text);
        if (!option) return "has no option " + JSON.stringify(text);
        e.focus();
        e.value = option.value;
        changed(e);
        return "set";
      }
      if (["date", "time", "datetime-local", "month", "week", "color", "range"].includes(e.type)) {
        e.focus();
        e.value = text;
        changed(e);
        return "set";
      }
      e.focus();
      if (document.activeElement !== e) return "does not take the focus";
      if (e.select) e.select();
      else getSelection().selectAllChildren(e);
      return "typed";
    },

    // Nothing is loading, and htmx has no request or swap under way.
    calm: () =>
      document.readyState === "complete" && !document.querySelector(".htmx-request, .htmx-swapping, .htmx-settling"),

    overflowing: () => {
      const root = document.scrollingElement;
      if (root.scrollWidth <= innerWidth) return [];
      const clipped = (e) => {
        for (let up = e.parentElement; up && up !== root && up !== document.body; up = up.parentElement)
          if (getComputedStyle(up).overflowX !== "visible") return true;
        return false;
      };
      const wide = [...document.body.querySelectorAll("*")].filter(
        (e) => e.getBoundingClientRect().right > innerWidth + 0.5 && !clipped(e),
      );
      const innermost = wide.filter((e) => !wide.some((other) => other !== e && e.contains(other)));
      return [
        `the page is ${root.scrollWidth} px wide in a window of ${innerWidth} px`,
        ...innermost.slice(0, 10).map((e) => `${name(e)} ends at ${Math.round(e.getBoundingClientRect().right)} px`),
      ];
    },

    stored: () => {
      const entries = (get) => {
        try {
          return { ...get() };
        } catch {
          return {}; // a page without an origin has no storage
        }
      };
      return {
        Local: entries(() => localStorage),
        Session: entries(() => sessionStorage),
        State: JSON.stringify(history.state),
      };
    },
  };
})()
