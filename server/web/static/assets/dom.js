// Building elements without HTML strings: text goes in as text, whatever it holds.

export const $ = (id) => document.getElementById(id);

// element("p", { class: "meta", title: "..." }, child, "text", ...)
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}
