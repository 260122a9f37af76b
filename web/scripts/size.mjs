// npm run size: what the dashboard weighs, compressed; the bar is 300 KB for everything, the goal 150 KB for
// the first view.
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const root = fileURLToPath(new URL("../../src/vigilnet/surface/dashboard/", import.meta.url));
const MOST = 300_000;
const MOST_FIRST = 160_000;
const names = [
  "index.html",
  "theme.js",
  "icon.svg",
  ...readdirSync(`${root}assets`).map((n) => `assets/${n}`),
];
const weigh = (name) => {
  const octets = readFileSync(root + name);
  return name.endsWith(".woff2") ? octets.length : gzipSync(octets, { level: 9 }).length;
};
const page = readFileSync(`${root}index.html`, "utf8");
let all = 0;
let first = 0;
for (const name of names) {
  const size = weigh(name);
  const isFirst = page.includes(name) || name === "index.html" || /geist-latin-wght/.test(name);
  all += size;
  if (isFirst) first += size;
  console.log(name.padEnd(64), String(size).padStart(8), isFirst ? "first view" : "");
}
console.log(`all ${all} of at most ${MOST}, first view ${first} of at most ${MOST_FIRST}, gzip`);
process.exitCode = all > MOST || first > MOST_FIRST ? 1 : 0;
