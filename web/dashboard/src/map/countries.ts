import world from "./world.json";

/** Countries that the map can show: also those that a person may be in. */
export const countriesDrawn: readonly string[] = Object.keys(world.points);
