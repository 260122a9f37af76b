// Debian's Firefox, by WebDriver BiDi: every view stands, the path lives, nothing breaks the policy.
import assert from "node:assert/strict";
import puppeteer from "puppeteer-core";
import { ADDRESS, ask, finish, until, VIEWS } from "./browser.mjs";

const browser = await puppeteer.launch({
  browser: "firefox",
  executablePath: process.env.FIREFOX ?? "/usr/bin/firefox-esr",
  headless: true,
});
try {
  const page = await browser.newPage();
  const complaints = [];
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => {
    if (!request.url().startsWith(ADDRESS.origin)) complaints.push(`request to ${request.url()}`);
  });
  await page.setViewport({ width: 1280, height: 900 });
  await page.goto(ADDRESS.href);
  await page.waitForSelector("main h2");
  assert.ok(!page.url().includes("token"));
  const titles = [];
  for (const view of VIEWS) {
    await page.evaluate((to) => {
      location.hash = `#/${to}`;
    }, view);
    await page.waitForSelector(`a[href="#/${view.split("/")[0]}"][aria-current=page]`);
    await page.waitForSelector("main h1");
    titles.push(await page.$eval("main h1", (h1) => h1.textContent));
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    if (wide > 0) complaints.push(`${view}: sticks out by ${wide}`);
  }
  assert.deepEqual(titles, ["Overview", "Path", "Peers", "Doctor", "Doctor", "Settings"]);
  await page.evaluate(() => {
    location.hash = "#/path";
  });
  await page.waitForSelector("[data-path]");
  const shown = () => page.$eval("[data-path]", (e) => e.getAttribute("data-path"));
  const before = await shown();
  await page.click("main [data-new-path]");
  await until("the page shows another path", async () => (await shown()) !== before);
  const { countries } = await ask("exits");
  finish(complaints, { version: await browser.version(), countries: countries.length });
} finally {
  await browser.close();
}
