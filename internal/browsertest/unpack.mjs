// Unpacks the Chromium of @sparticuz/chromium, with the libraries and the font that a bare machine lacks,
// into the folder given, and is done with it when the folder is there. Run by browser.go.
import { inflate } from "@sparticuz/chromium";
import { chmod, mkdir, mkdtemp, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const folder = process.argv[2];
const packed = join(dirname(fileURLToPath(import.meta.resolve("@sparticuz/chromium"))), "..", "bin");

// inflate() writes to the temporary folder and keeps what it finds there: give it an empty one of its own.
await mkdir(dirname(folder), { recursive: true });
const fresh = await mkdtemp(`${folder}-`);
process.env.TMPDIR = fresh;
for (const file of ["chromium.br", "al2023.tar.br", "fonts.tar.br"]) await inflate(join(packed, file));
await writeFile(
  join(fresh, "fonts", "fonts.conf"),
  `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir prefix="relative">fonts</dir>
  <dir>/usr/share/fonts</dir>
  <cachedir prefix="xdg">fontconfig</cachedir>
</fontconfig>
`,
);
await chmod(join(fresh, "chromium"), 0o755);
await chmod(fresh, 0o755);

// Two test binaries may unpack at once: the first to rename wins, and the other's copy goes.
try {
  await rename(fresh, folder);
} catch (error) {
  await rm(fresh, { recursive: true, force: true });
  await stat(folder).catch(() => { throw error; });
}
