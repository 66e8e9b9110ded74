// Says what a tool has against an OpenAPI document, one line a problem, and nothing when all is well:
//
//     node check.mjs redocly|spectral openapi.yaml
//     node check.mjs typescript openapi.yaml FOLDER      the client is written there
import { copyFile, readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import path from 'node:path'

const [tool, document, folder] = process.argv.slice(2)
const say = (...words) => console.log(...words)
const require = createRequire(import.meta.url) // these packages are CommonJS, and hide their names from import

const checks = {
  async redocly() {
    const { createConfig, lint } = await import('@redocly/openapi-core')
    const config = await createConfig({ extends: ['recommended'] })
    for (const { ruleId, message, location } of await lint({ ref: document, config })) {
      say(ruleId, '·', message, '·', location.map((l) => l.pointer ?? '').join(' '))
    }
  },

  async spectral() {
    const { Document, Spectral } = require('@stoplight/spectral-core')
    const { oas } = require('@stoplight/spectral-rulesets')
    const { Yaml } = require('@stoplight/spectral-parsers')
    const spectral = new Spectral()
    spectral.setRuleset({ extends: [[oas, 'recommended']] })
    for (const { code, message, path: place } of await spectral.run(new Document(await readFile(document, 'utf8'), Yaml, document))) {
      say(code, '·', message, '·', place.join('/'))
    }
  },

  // A client for TypeScript is made, and what uses it (consumer.ts) compiled with it.
  async typescript() {
    const { createClient } = await import('@hey-api/openapi-ts')
    await createClient({ input: document, output: path.join(folder, 'client'), logs: { level: 'silent', file: false }, plugins: ['@hey-api/client-fetch', '@hey-api/typescript', '@hey-api/sdk'] })
    const consumer = path.join(folder, 'consumer.ts')
    await copyFile(new URL('consumer.ts', import.meta.url), consumer)
    const { default: ts } = await import('typescript')
    const program = ts.createProgram([consumer], {
      strict: true,
      noEmit: true,
      target: ts.ScriptTarget.ES2022,
      lib: ['lib.es2022.d.ts', 'lib.dom.d.ts', 'lib.dom.iterable.d.ts'],
      module: ts.ModuleKind.ESNext,
      moduleResolution: ts.ModuleResolutionKind.Bundler,
      types: [],
    })
    for (const { file, start, messageText } of ts.getPreEmitDiagnostics(program)) {
      const line = file ? `${path.basename(file.fileName)}:${file.getLineAndCharacterOfPosition(start).line + 1}` : ''
      say(line, '·', ts.flattenDiagnosticMessageText(messageText, '\n'))
    }
  },
}

await checks[tool]()
