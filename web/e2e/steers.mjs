// A person at the dashboard, with the node as the judge of what happened: token, policy, load, keyboard, live
// paths, exit choice, options, off and on, roles with the exit's warning, and at last a node that ends.
import assert from "node:assert/strict";
import { ADDRESS, ask, finish, open, show, TOKEN, until, withChromium } from "./browser.mjs";

const facts = {};
const mode = async () => (await ask("status")).mode;

async function tokenAndPolicy(browser) {
  const { context, page } = await open(browser, { hash: "" });
  await page.getByText("vigilnet gui").waitFor();
  await context.close();
  const answer = await fetch(ADDRESS.href);
  const policy = answer.headers.get("content-security-policy") ?? "";
  assert.match(policy, /default-src 'none'/);
  assert.doesNotMatch(policy, /unsafe/);
}

async function load(browser) {
  const { context, page } = await open(browser);
  const session = await context.newCDPSession(page);
  await session.send("Performance.enable", { timeDomain: "threadTicks" });
  await page.reload();
  await page.locator("main h2").first().waitFor();
  const { metrics } = await session.send("Performance.getMetrics");
  const cpu = metrics.find((metric) => metric.name === "TaskDuration")?.value ?? 0;
  facts.load_cpu_ms = Math.round(cpu * 1000);
  facts.first_paint_ms = await page.evaluate(() =>
    Math.round(performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? -1),
  );
  assert.equal(await page.evaluate(() => location.hash.includes("token")), false);
  assert.ok(!page.url().includes(TOKEN), "the token is in the address");
  await context.close();
}

async function keyboard(page) {
  await show(page, "overview");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement?.textContent), "Skip to content");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement?.tagName), "H1");
  await page.keyboard.type("gp");
  await page.getByRole("heading", { level: 1, name: "Path" }).waitFor();
  await page.keyboard.type("?");
  await page.getByRole("dialog", { name: "Keyboard" }).waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "hidden" });
}

async function livePath(page) {
  await show(page, "path");
  const shown = () => page.locator("[data-path]").getAttribute("data-path");
  const before = await shown();
  const ids = async () => (await ask("paths")).map(({ id }) => String(id));
  assert.ok((await ids()).includes(before));
  const start = performance.now();
  await page.getByRole("button", { name: "New path" }).click();
  await until(
    "the node has another path",
    async () => !(await ids()).includes(before) || (await shown()) !== before,
  );
  const atNode = performance.now();
  await until("the page shows another path", async () => (await shown()) !== before);
  facts.path_shown_after_ms = Math.round(performance.now() - start);
  facts.path_shown_behind_node_ms = Math.round(performance.now() - atNode);
  await page.getByRole("button", { name: "New identity" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "New identity" }).click();
  await page.getByText(/takes? nothing new any more/).waitFor();
}

async function exitChoice(page) {
  await show(page, "path");
  const { exits, countries } = await ask("exits");
  const country = countries.find((each) => each.country)?.country;
  if (country) {
    await page.locator("button[aria-pressed]", { hasText: country }).first().click();
    await until("the node leaves there", async () => (await ask("exits")).choice.country === country);
    await page.getByRole("button", { name: "Leave anywhere" }).click();
    await until("the node leaves anywhere", async () => (await ask("exits")).choice.country === "");
  }
  await page.locator("summary", { hasText: "Choose one of" }).click();
  await page.getByRole("button", { name: `Leave here ${exits[0].name}` }).click();
  await until("one exit is taken", async () => (await ask("exits")).choice.peer_id === exits[0].peer_id);
  await page.getByRole("button", { name: "Leave anywhere" }).click();
  await until("any exit is taken", async () => (await ask("exits")).choice.peer_id === "");
}

async function options(page) {
  await show(page, "settings");
  const valueOf = async (key) => (await ask("settings")).settings.find((each) => each.key === key).value;
  await page.getByRole("combobox", { name: "Hops" }).selectOption("2");
  await until("paths have 2 hops", async () => (await ask("status")).hops === 2);
  await page.getByRole("combobox", { name: "Hops" }).selectOption("3");
  await until("paths have 3 hops", async () => (await ask("status")).hops === 3);
  await page.getByRole("textbox", { name: "Path of the program" }).fill("/usr/bin/true");
  await page.keyboard.press("Enter");
  await until(
    "a program goes around",
    async () => (await valueOf("device.outside_programs")) === "/usr/bin/true",
  );
  await page.getByRole("button", { name: "Forget /usr/bin/true" }).click();
  await until("it does no longer", async () => (await valueOf("device.outside_programs")) === "");
  await page.getByRole("searchbox", { name: "Find a setting" }).fill("circuits.idle_s");
  const field = page.getByRole("textbox", { name: "circuits.idle_s" });
  await field.fill("61");
  await field.press("Enter");
  await until("the option is set", async () => Number(await valueOf("circuits.idle_s")) === 61);
  await page.getByText("Changed by you").waitFor();
  await page.getByRole("button", { name: "Reset circuits.idle_s" }).click();
  await until("the option is reset", async () => Number(await valueOf("circuits.idle_s")) === 60);
  await field.fill("-1");
  await field.press("Enter");
  await page.getByRole("status").getByText("circuits.idle_s").waitFor();
  await page.getByRole("button", { name: "Close" }).click();
}

async function offAndOn(page) {
  await show(page, "overview");
  await page.getByRole("button", { name: "Disconnect" }).click();
  await page.getByRole("heading", { name: "Not protected" }).waitFor();
  assert.equal((await ask("status")).protection.id, "offline");
  await page.getByRole("button", { name: "Connect", exact: true }).click();
  await until(
    "a path stands again",
    async () => (await ask("status")).protection.api === "connected",
    60_000,
  );
  await page.getByRole("button", { name: "Disconnect" }).waitFor();
}

async function roles(page) {
  await show(page, "settings");
  const role = page.getByRole("combobox", { name: "Role" });
  await role.selectOption("exit");
  const dialog = page.getByRole("dialog", { name: "Become an exit?" });
  await dialog.waitFor();
  assert.equal(await page.evaluate(() => document.activeElement?.textContent), "Stay as I am");
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "hidden" });
  assert.equal(await mode(), "client", "closing the warning changes nothing");
  await role.selectOption("relay");
  await until("it is a relay", async () => (await mode()) === "relay", 60_000);
  await until("the page says so", async () => (await role.inputValue()) === "relay");
  await role.selectOption("exit");
  await dialog.getByRole("textbox").fill("abuse@example.org");
  await dialog.getByRole("button", { name: "Become an exit" }).click();
  await until("it is an exit", async () => (await mode()) === "exit", 60_000);
  await until("the page says so", async () => (await role.inputValue()) === "exit");
  await role.selectOption("client");
  await until("it is a client", async () => (await mode()) === "client", 60_000);
}

async function lost(page) {
  await show(page, "overview");
  await ask("stop", {});
  await page.getByRole("heading", { name: "VigilNet does not answer" }).waitFor();
  await page.getByRole("button", { name: "Try again" }).waitFor();
}

await withChromium(async (browser) => {
  await tokenAndPolicy(browser);
  await load(browser);
  const { page, complaints } = await open(browser);
  page.setDefaultTimeout(30_000);
  await page.locator("main h2").first().waitFor();
  for (const step of [keyboard, livePath, exitChoice, options, offAndOn, roles, lost]) {
    try {
      await step(page);
    } catch (error) {
      complaints.push(`${step.name}: ${error.stack}`);
      if (process.env.PICTURE) await page.screenshot({ path: process.env.PICTURE });
      break;
    }
  }
  // Chromium writes refused changes (400, 409) and, at the end, lost connections into the console
  const expected = /status of (400|409)|ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|ERR_EMPTY_RESPONSE/;
  finish(
    complaints.filter((complaint) => !expected.test(complaint)),
    facts,
  );
});
