import type { Setting } from "@vigilnet/ui/api-types";
import { expect, test } from "vitest";
import { fieldsOf, programsOf } from "../src/views/settings-programs";

const settings = new Map(
  Object.entries({
    outside_programs: "/usr/bin/steam,/usr/bin/zoom",
    inside_programs: "",
    bound_programs: "SE /opt/a b",
  }).map(([name, value]) => [`device.${name}`, { key: `device.${name}`, value } as Setting]),
);

test("programs of the three options are shown as one list, and written as three", () => {
  const programs = programsOf(settings);
  expect(programs).toEqual([
    { path: "/usr/bin/steam", way: "outside" },
    { path: "/usr/bin/zoom", way: "outside" },
    { path: "/opt/a b", way: "exit SE" },
  ]);
  expect(fieldsOf(programs)).toEqual({
    outside_programs: ["/usr/bin/steam", "/usr/bin/zoom"],
    inside_programs: [],
    bound_programs: ["SE /opt/a b"],
  });
});

test("another way for a program replaces the one that it had", () => {
  const changed = fieldsOf([...programsOf(settings), { path: "/usr/bin/zoom", way: "exit NL" }]);
  expect(changed.outside_programs).toEqual(["/usr/bin/steam"]);
  expect(changed.bound_programs).toEqual(["NL /usr/bin/zoom", "SE /opt/a b"]);
});
