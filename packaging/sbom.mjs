// Completes the list of Go modules that cyclonedx-gomod makes: node packaging/sbom.mjs SBOM SECONDS-SINCE-1970
// It adds the npm packages whose output is in the binary, and takes the commit's time, so that two builds are the same.
import { readFileSync, writeFileSync } from "node:fs";

const [file, time] = process.argv.slice(2);
const sbom = JSON.parse(readFileSync(file, "utf8"));
const { packages } = JSON.parse(readFileSync("package-lock.json", "utf8"));
const headings = readFileSync("internal/licences/third-party.txt", "utf8").matchAll(/^=== (\S+) /gm);
const embedded = [...headings].map(([, name]) => name).filter((name) => packages[`node_modules/${name}`]);
if (embedded.length === 0) throw new Error("no npm package is named in internal/licences/third-party.txt");

for (const name of embedded) {
	const { version, license } = packages[`node_modules/${name}`];
	const purl = `pkg:npm/${name.replace("@", "%40")}@${version}`;
	sbom.components.push({ "bom-ref": purl, type: "library", name, version, purl, licenses: [{ license: { id: license } }] });
	sbom.dependencies.find(({ ref }) => ref === sbom.metadata.component["bom-ref"]).dependsOn.push(purl);
	sbom.dependencies.push({ ref: purl });
}
for (const tool of sbom.metadata.tools) delete tool.hashes; // those of the machine that builds
sbom.metadata.timestamp = new Date(time * 1000).toISOString();
writeFileSync(file, JSON.stringify(sbom, null, "\t") + "\n");
