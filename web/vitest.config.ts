import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  test: { include: ["*/tests/**/*.test.ts"], environment: "node" },
  resolve: {
    alias: [
      { find: /^@vigilnet\/ui\//, replacement: here("./ui/src/") },
      { find: "#states", replacement: here("../src/vigilnet/surface/control/states.json") },
    ],
  },
});
