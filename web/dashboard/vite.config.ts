import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

// `npm run dev` shows the sources on the data of a running node: VIGILNET_DASHBOARD is its address, as
// `vigilnet gui` opens it. The built files are served by the node itself and need nothing of this.
const node = process.env["VIGILNET_DASHBOARD"] ?? "http://127.0.0.1:8088";

export default defineConfig({
  base: "./",
  plugins: [react(), tailwindcss()],
  resolve: {
    alias: [
      { find: /^@vigilnet\/ui\//, replacement: here("../ui/src/") },
      { find: "#states", replacement: here("../../src/vigilnet/surface/control/states.json") },
    ],
  },
  server: {
    port: 4178,
    proxy: {
      "/api/": {
        target: new URL(node).origin,
        changeOrigin: true,
        configure: (proxy) => proxy.on("proxyReq", (request) => request.removeHeader("origin")),
      },
    },
    fs: { allow: [here("../.."), here("..")] },
  },
  build: {
    outDir: here("../../src/vigilnet/surface/dashboard"),
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0, // no data: addresses, so that the policy can stay strict
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    rollupOptions: {
      output: {
        manualChunks: (id) => (/node_modules\/(react|react-dom|scheduler)\//.test(id) ? "react" : undefined),
      },
    },
  },
});
