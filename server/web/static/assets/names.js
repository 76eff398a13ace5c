// A friendly name for someone who has not chosen one. Pure: the random source is given.

const MANNERS = [
  "Brisk", "Calm", "Clever", "Daring", "Gentle", "Happy", "Jolly", "Keen", "Lucky", "Merry", "Nimble", "Proud",
  "Quick", "Quiet", "Sunny", "Swift", "Warm", "Wise",
];
const ANIMALS = [
  "Badger", "Beaver", "Crane", "Falcon", "Finch", "Fox", "Gecko", "Hare", "Heron", "Ibex", "Lynx", "Marten", "Otter",
  "Owl", "Puffin", "Raven", "Robin", "Seal", "Stork", "Swan", "Tern", "Wren",
];

export function friendlyName(random = Math.random) {
  const pick = (list) => list[Math.floor(random() * list.length)];
  return `${pick(MANNERS)} ${pick(ANIMALS)}`;
}

// Up to two letters that stand for a name.
export function initials(name) {
  const letters = name.split(/\s+/u).filter(Boolean).slice(0, 2).map(firstGrapheme);
  return letters.join("").toLocaleUpperCase() || "?";
}

// One of count colours for a name, the same in every browser (FNV-1a).
export function hueOf(name, count) {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) {
    hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  }
  return hash % count;
}

function firstGrapheme(word) {
  if (typeof Intl.Segmenter === "function") {
    const [first] = new Intl.Segmenter(undefined, { granularity: "grapheme" }).segment(word);
    return first.segment;
  }
  return Array.from(word)[0];
}
