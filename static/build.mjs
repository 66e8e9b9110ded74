// Builds static/dist, which the binary embeds: app.css (Tailwind), docs.css, app.js (htmx and js/app.js), the font, the
// mark and the icons, each text also as .br and .gz. Run from the repository's root: node static/build.mjs [--watch]
// Without --watch it does nothing when nothing changed since the last build.
import { spawn, spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import { copyFile, mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { brotliCompress, constants, gzip } from "node:zlib"
import esbuild from "esbuild"

process.chdir(join(dirname(fileURLToPath(import.meta.url)), ".."))

const dist = "static/dist"
const stamp = ".cache/static-build"
const tailwind = ["node_modules/@tailwindcss/cli/dist/index.mjs", "-i", "static/css/app.css", "-o", `${dist}/app.css`, "--minify"]
const bundle = {
  entryPoints: ["static/js/app.js", "static/css/docs.css"],
  outdir: dist,
  entryNames: "[name]",
  bundle: true,
  minify: true,
  format: "iife",
  target: "es2022",
  legalComments: "none",
  logLevel: "warning",
}

async function inputs() {
  const files = ["package-lock.json", "tailwind.config.js", "static/build.mjs"]
  for (const folder of ["static/css", "static/js", "static/img", "views"]) {
    for (const file of await readdir(folder, { recursive: true })) {
      if (/\.(css|js|svg|templ|go)$/.test(file) && !file.endsWith("_templ.go")) files.push(join(folder, file))
    }
  }
  const hash = createHash("sha256")
  for (const file of files.sort()) hash.update(file).update(await readFile(file).catch(() => ""))
  return hash.digest("hex")
}

async function copies() {
  await copyFile("node_modules/@fontsource-variable/figtree/files/figtree-latin-wght-normal.woff2", `${dist}/figtree.woff2`)
  for (const name of ["mark.svg", "icons.svg"]) await copyFile(`static/img/${name}`, `${dist}/${name}`)
}

async function compress() {
  for (const name of ["app.css", "docs.css", "app.js", "mark.svg", "icons.svg"]) {
    const text = await readFile(join(dist, name))
    const best = { params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: text.length } }
    await writeFile(join(dist, name + ".br"), await promisify(brotliCompress)(text, best))
    await writeFile(join(dist, name + ".gz"), await promisify(gzip)(text, { level: 9 }))
  }
}

if (process.argv.includes("--watch")) {
  await mkdir(dist, { recursive: true })
  await rm(stamp, { force: true })
  await rm(dist, { recursive: true }).then(() => mkdir(dist))
  await copies()
  const watched = await esbuild.context({ ...bundle, sourcemap: "inline", minify: false })
  await watched.watch()
  const styles = spawn(process.execPath, [...tailwind, "--watch=always"], { stdio: "inherit" })
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => (styles.kill(), process.exit()))
} else {
  const now = await inputs()
  if ((await readFile(stamp, "utf8").catch(() => "")) === now && (await readFile(`${dist}/app.js.gz`).catch(() => null))) process.exit()
  await rm(dist, { recursive: true, force: true })
  await mkdir(dist, { recursive: true })
  await esbuild.build(bundle)
  const styles = spawnSync(process.execPath, tailwind, { encoding: "utf8" })
  if (styles.status !== 0) {
    process.stderr.write(styles.stderr)
    process.exit(1)
  }
  await copies()
  await compress()
  await mkdir(dirname(stamp), { recursive: true })
  await writeFile(stamp, now)
}
