// npm run types: writes ui/src/api-types.ts from docs/openapi.json, so that the pages and the node cannot
// disagree about a field. An answer always has every field; of parameters those with a default may be left out.
import { readFileSync, writeFileSync } from "node:fs";

const read = (path) => readFileSync(new URL(path, import.meta.url), "utf8");
const api = JSON.parse(read("../../docs/openapi.json"));
const paramNames = new Set(
  Object.values(api.paths).flatMap((path) => {
    const ref = path.post?.requestBody?.content["application/json"].schema.$ref;
    return ref ? [ref.split("/").at(-1)] : [];
  }),
);

function typeOf(schema) {
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  const options = schema.oneOf ?? schema.anyOf;
  if (options) return options.map(typeOf).join(" | ");
  if (Array.isArray(schema.type)) return schema.type.map((type) => typeOf({ ...schema, type })).join(" | ");
  switch (schema.type) {
    case "array": {
      const item = typeOf(schema.items);
      return item.includes(" ") ? `readonly (${item})[]` : `readonly ${item}[]`;
    }
    case "object":
      return "Record<string, unknown>";
    case "integer":
    case "number":
      return "number";
    case "boolean":
      return "boolean";
    case "string":
      return "string";
    case "null":
      return "null";
    default:
      return "unknown";
  }
}

const lines = ["// Made by `npm run types` from docs/openapi.json; do not edit.", ""];
for (const [name, schema] of Object.entries(api.components.schemas)) {
  if (schema.description) lines.push(`/** ${schema.description.split("\n")[0]} */`);
  lines.push(`export interface ${name} {`);
  for (const [field, kind] of Object.entries(schema.properties ?? {})) {
    if (kind.description) lines.push(`  /** ${kind.description} */`);
    const mayMiss = paramNames.has(name) && !(schema.required ?? []).includes(field);
    lines.push(`  ${field}${mayMiss ? "?" : ""}: ${typeOf(kind)};`);
  }
  lines.push("}", "");
}

const answerOf = (operation) =>
  typeOf(operation.responses["200"].content?.["application/json"]?.schema ?? {});
const table = (method, name, more) => {
  lines.push(`export interface ${name} {`);
  for (const path of Object.values(api.paths)) {
    const operation = path[method];
    if (!operation?.operationId || operation.operationId === "events") continue;
    lines.push(`  "${operation.operationId}": ${more(operation)};`);
  }
  lines.push("}", "");
};
lines.push("/** What can be read, and its answer. */");
table("get", "Reads", answerOf);
lines.push("/** What can be changed: parameters and answer. */");
table("post", "Changes", (operation) => {
  const body = operation.requestBody?.content["application/json"].schema;
  return `{ params: ${body ? typeOf(body) : "Record<string, never>"}; answer: ${answerOf(operation)} }`;
});

const text = `${lines.join("\n").trimEnd()}\n`;
const target = new URL("../ui/src/api-types.ts", import.meta.url);
if (process.argv.includes("--check")) {
  if (read("../ui/src/api-types.ts") !== text) {
    console.error("ui/src/api-types.ts is older than docs/openapi.json: npm run types");
    process.exit(1);
  }
} else writeFileSync(target, text);
