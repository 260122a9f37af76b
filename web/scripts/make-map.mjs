// Builds dashboard/src/map/world.json: every country as one pre-projected SVG path with
// integer coordinates, and a label point for each. Nothing of d3 or topojson is
// needed at run time. Source: world-atlas (Natural Earth, public domain).
import { readFileSync, writeFileSync } from "node:fs";
import { gzipSync, brotliCompressSync } from "node:zlib";
import { feature } from "topojson-client";
import { presimplify, simplify } from "topojson-simplify";
import { geoNaturalEarth1, geoPath, geoCentroid, geoArea } from "d3-geo";

const MIN_WEIGHT = Number(process.env.MIN_WEIGHT ?? 0.06);
const WIDTH = 2000;
const raw = JSON.parse(readFileSync("node_modules/world-atlas/countries-50m.json"));
const iso = JSON.parse(readFileSync("scripts/iso-numeric.json"));
const topo = simplify(presimplify(raw), MIN_WEIGHT);
const world = feature(topo, topo.objects.countries);
const full = feature(raw, raw.objects.countries);
const projection = geoNaturalEarth1().fitWidth(WIDTH, { type: "Sphere" });
const project = geoPath(projection);

const relative = (d) =>
  // absolute "M x,y L x,y Z" -> integer relative path, short and compressible
  d
    .split("Z")
    .filter(Boolean)
    .map((ring) => {
      const pts = ring
        .slice(1)
        .split("L")
        .map((p) => p.split(",").map((n) => Math.round(Number(n))));
      const out = [];
      let last = null;
      for (const [x, y] of pts) {
        if (last && last[0] === x && last[1] === y) continue;
        out.push(last ? [x - last[0], y - last[1]] : [x, y]);
        last = [x, y];
      }
      if (out.length < 4) return "";
      return (
        "M" +
        out[0].join(" ") +
        "l" +
        out
          .slice(1)
          .map((p) => p.join(" "))
          .join(" ") +
        "z"
      );
    })
    .join("")
    .replace(/ -/g, "-");

const countries = {},
  points = {};
for (const [i, f] of world.features.entries()) {
  const cc = iso[f.id];
  if (f.id === "010") continue; // Antarctica: empty of relays
  const src = full.features[i];
  // label point: centroid of the largest polygon (France without Guyana)
  const polys = src.geometry.type === "MultiPolygon" ? src.geometry.coordinates : [src.geometry.coordinates];
  const biggest = polys
    .map((c) => ({ type: "Polygon", coordinates: c }))
    .sort((a, b) => geoArea(b) - geoArea(a))[0];
  if (cc) points[cc] = projection(geoCentroid(biggest)).map(Math.round);
  const d = project(f);
  if (d) countries[cc ?? `_${i}`] = relative(d);
}
for (const k of Object.keys(countries)) if (!countries[k]) delete countries[k];
const json = JSON.stringify({ width: WIDTH, height: 1040, countries, points });
writeFileSync("dashboard/src/map/world.json", json);
console.log(
  Object.keys(countries).length,
  "shapes",
  Object.keys(points).length,
  "points",
  json.length,
  "bytes, gzip",
  gzipSync(json, { level: 9 }).length,
  "brotli",
  brotliCompressSync(json).length,
);
