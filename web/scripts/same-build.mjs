// npm run same: builds the dashboard into a passing folder and compares it with the files in the repository,
// octet by octet: what users get is what the sources say.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "vite";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const committed = here("../../src/vigilnet/surface/dashboard");
const fresh = mkdtempSync(join(tmpdir(), "vigilnet-dashboard-"));

const filesOf = (folder, prefix = "") =>
  readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory()
      ? filesOf(join(folder, entry.name), `${prefix}${entry.name}/`)
      : [`${prefix}${entry.name}`],
  );

try {
  await build({
    root: here("../dashboard"),
    logLevel: "warn",
    build: { outDir: fresh, emptyOutDir: true },
  });
  const names = [...new Set([...filesOf(committed), ...filesOf(fresh)])].sort();
  const read = (folder, name) => {
    try {
      return readFileSync(join(folder, name));
    } catch {
      return null;
    }
  };
  const others = names.filter((name) => {
    const [a, b] = [read(committed, name), read(fresh, name)];
    return !a || !b || !a.equals(b);
  });
  for (const name of others) console.error(`differs from a fresh build: ${name}`);
  if (others.length > 0) {
    console.error("src/vigilnet/surface/dashboard is not what web/ builds: make web");
    process.exitCode = 1;
  } else console.log(`${names.length} files equal a fresh build`);
} finally {
  rmSync(fresh, { recursive: true });
}
