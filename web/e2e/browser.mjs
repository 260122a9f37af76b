// What the end-to-end scripts share. They get the dashboard's address, as `vigilnet gui --print` gives it, as
// their first argument; a real node is behind it.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { chromium } from "playwright-core";

export const VIEWS = ["overview", "path", "peers", "doctor", "doctor/logs", "settings"];
export const ADDRESS = new URL(process.argv[2] ?? "");
export const TOKEN = ADDRESS.hash.replace("#token=", "");

export const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Runs with Debian's Chromium; closes it whatever happens. */
export async function withChromium(work) {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox"],
  });
  try {
    return await work(browser);
  } finally {
    await browser.close();
  }
}

/** A page that keeps what must not happen: errors, breaches of the policy, requests to elsewhere. */
export async function open(browser, { width = 1440, height = 900, theme = "light", lang = "en", hash } = {}) {
  const context = await browser.newContext({
    viewport: { width, height },
    colorScheme: theme,
    locale: lang,
    timezoneId: "Europe/Berlin",
    reducedMotion: "reduce",
    permissions: ["clipboard-read", "clipboard-write"],
  });
  const page = await context.newPage();
  const complaints = [];
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== ADDRESS.origin) complaints.push(`request to ${request.url()}`);
  });
  await page.goto(hash === undefined ? ADDRESS.href : ADDRESS.href.replace(/#.*/, hash));
  return { context, page, complaints };
}

export async function show(page, view) {
  await page.evaluate((to) => {
    location.hash = `#/${to}`;
  }, view);
  await page.locator("main h1").waitFor();
  await page.evaluate(() => document.fonts.ready);
  if (view === "path") await page.locator("main svg path").first().waitFor();
  if (view === "doctor") await page.locator("main [data-verdict]").waitFor({ timeout: 60_000 });
  if (view === "settings") await page.locator("#all details").first().waitFor();
}

/** What sticks out sideways, if anything. */
export const spill = (page) =>
  page.evaluate(() => {
    const wide = document.documentElement.scrollWidth - innerWidth;
    const cut = [...document.querySelectorAll("main *")]
      .filter((e) => e.getBoundingClientRect().right > innerWidth + 1)
      .filter((e) => !e.closest("svg, .overflow-x-auto, nav, .sr-only, .truncate"))
      .slice(0, 3)
      .map((e) => e.outerHTML.slice(0, 120));
    return wide > 0 || cut.length > 0 ? `sticks out by ${wide}: ${cut.join(" | ")}` : "";
  });

/** Asks the node itself, beside the page. */
export async function ask(operation, params) {
  const answer = await fetch(`${ADDRESS.origin}/api/v1/${operation}`, {
    method: params ? "POST" : "GET",
    headers: { Authorization: `Bearer ${TOKEN}`, "Content-Type": "application/json" },
    ...(params ? { body: JSON.stringify(params) } : {}),
  });
  const value = await answer.json();
  if (!answer.ok) throw new Error(`${operation}: ${JSON.stringify(value)}`);
  return value;
}

export async function until(what, isSo, timeoutMs = 20_000) {
  const end = performance.now() + timeoutMs;
  while (!(await isSo())) {
    if (performance.now() > end) throw new Error(`${what}: not within ${timeoutMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

export function finish(complaints, facts) {
  for (const complaint of complaints) console.error(complaint);
  console.log(JSON.stringify(facts));
  process.exitCode = complaints.length > 0 ? 1 : 0;
}
