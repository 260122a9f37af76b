// npm run licenses: writes dashboard/public/licenses.txt, the licences of what is in the built dashboard.
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const PARTS = [
  "react",
  "react-dom",
  "scheduler",
  "lucide-react",
  "tailwindcss",
  "@fontsource-variable/geist",
  "world-atlas",
];

const textOf = (name) => {
  const folder = here(`../node_modules/${name}`);
  const { version, license } = JSON.parse(readFileSync(`${folder}/package.json`, "utf8"));
  const file = readdirSync(folder).find((each) => /^licen[sc]e/i.test(each));
  const words =
    file && existsSync(`${folder}/${file}`) ? readFileSync(`${folder}/${file}`, "utf8").trim() : "";
  return `${name} ${version} (${license})\n\n${words}`;
};

const head =
  "The files beside this one are built from web/ and hold parts of these works. Outlines of countries: Natural\n" +
  "Earth, in the public domain.";
writeFileSync(
  here("../dashboard/public/licenses.txt"),
  `${[head, ...PARTS.map(textOf)].join(`\n\n${"-".repeat(80)}\n\n`)}\n`,
);
