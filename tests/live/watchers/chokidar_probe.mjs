// Watches a folder with chokidar (behind Vite, webpack and others) and says what it believes of one file.
//
// usage: chokidar_probe.mjs FOLDER FILE SENTINEL, with MLT_CHOKIDAR naming the package's entry file.
// Prints `ready`, then, once SENTINEL was seen, one line of JSON: the events on FILE in order, and whether a
// program that follows them believes that the file is there.
import path from "node:path";
import { pathToFileURL } from "node:url";

const { default: chokidar } = await import(pathToFileURL(process.env.MLT_CHOKIDAR));
const [folder, file, sentinel] = process.argv.slice(2);
// chokidar holds a deletion back for 100 ms, hoping for a new file; what it says is final after that.
const SETTLED_MS = 400;

const events = [];
let present = true;
const watcher = chokidar.watch(folder, { ignoreInitial: true });
watcher.on("all", (event, name) => {
  if (path.basename(name) === sentinel) {
    setTimeout(async () => {
      await watcher.close();
      console.log(JSON.stringify({ events, present, sentinel: true }));
    }, SETTLED_MS);
  } else if (path.basename(name) === file) {
    events.push(event);
    present = event !== "unlink";
  }
});
watcher.on("ready", () => console.log("ready"));
