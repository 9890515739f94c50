// node run.mjs JOURNEY, with the place in the environment: runs it and tells by the exit status how it went.
import * as journeys from "./journeys.mjs";

const [, , name] = process.argv;

if (name === "--list") {
  console.log(Object.keys(journeys).join("\n"));
  process.exit(0);
}

process.on("unhandledRejection", (error) => {
  console.error(error);
  process.exit(1);
});

try {
  await journeys[name](JSON.parse(process.env.PLACE));
} catch (error) {
  console.error(error);
  process.exit(1);
}
process.exit(0);
