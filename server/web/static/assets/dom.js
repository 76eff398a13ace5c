// Building elements without HTML strings: text goes in as text, whatever it holds.

export const $ = (id) => document.getElementById(id);

// fn, to be called as often as one likes: it runs at once, and after that once in ms at most, the last call never lost.
export function paced(fn, ms) {
  let last = 0;
  let timer = null;
  const run = () => {
    clearTimeout(timer);
    timer = null;
    last = performance.now();
    fn();
  };
  return () => {
    const wait = last + ms - performance.now();
    if (last === 0 || wait <= 0) run();
    else timer ??= setTimeout(run, wait);
  };
}

// element("p", { class: "meta", title: "..." }, child, "text", ...)
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}
