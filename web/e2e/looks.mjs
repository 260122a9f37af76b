// Every view in both themes, three widths and three languages: axe-core finds nothing serious, nothing sticks
// out, nothing is asked of another host, and the console stays empty. With a folder as second argument also
// pictures of them.
import { mkdirSync } from "node:fs";
import { axeSource, finish, open, show, spill, VIEWS, withChromium } from "./browser.mjs";

const pictures = process.argv[3];
if (pictures) mkdirSync(pictures, { recursive: true });
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
const jobs = [
  ...["light", "dark"].flatMap((theme) =>
    [1440, 820, 390].map((width) => ({ theme, width, lang: "en", height: 900 })),
  ),
  { theme: "light", width: 820, lang: "de", height: 900 },
  { theme: "dark", width: 390, lang: "fr", height: 844 },
];

await withChromium(async (browser) => {
  const all = [];
  const impacts = {};
  for (const job of jobs) {
    const { context, page, complaints } = await open(browser, job);
    await page.locator("main h1").waitFor();
    await page.evaluate(axeSource);
    for (const view of VIEWS) {
      await show(page, view);
      const name = `${view} ${job.width} ${job.theme} ${job.lang}`;
      const out = await spill(page);
      if (out) all.push(`${name}: ${out}`);
      const { violations } = await page.evaluate(
        (rules) => axe.run(document, { runOnly: rules, resultTypes: ["violations"] }),
        RULES,
      );
      for (const { impact, id, nodes } of violations) {
        impacts[impact] = (impacts[impact] ?? 0) + nodes.length;
        const said = `${name}: ${impact} ${id} ${nodes[0].html.slice(0, 160)} ${nodes[0].any?.[0]?.message ?? ""}`;
        if (impact === "serious" || impact === "critical") all.push(said);
        else console.error(`note: ${said}`);
      }
      const wanted = job.lang === "en" && job.width === 1440;
      if (pictures && wanted) {
        if (view === "overview") await page.waitForTimeout(Number(process.env.MINUTE_MS ?? 0)); // of traffic
        const file = `${pictures}/dashboard-${view.replace("doctor/", "")}-${job.theme}.png`;
        await page.screenshot({ path: file, fullPage: view !== "settings" });
      }
    }
    all.push(...complaints.map((complaint) => `${job.width} ${job.theme}: ${complaint}`));
    await context.close();
  }
  finish(all, { pages: jobs.length * VIEWS.length, impacts });
});
