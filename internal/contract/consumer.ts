// What somebody might write against the API. It is never run: it must compile, with nothing cast.
import { type ApiKey, type ErrorBody, issueApiKey, listApiKeys, revokeApiKey, rotateApiKey, updateApiKey, verifyApiKey } from './client'

const address = { baseUrl: 'https://keys.fernhill.example', auth: 'pk_live_…' }

export async function deploy(): Promise<string> {
  const issued = await issueApiKey({
    ...address,
    headers: { 'Idempotency-Key': 'deploy-2026-11-21' },
    body: { name: 'Production API', scopes: ['read:chat'], environment: 'live', expiresAt: '2027-02-19T10:00:00Z' },
  })
  if (issued.error) throw refused(issued.error.error)
  const { id, plaintextKey, workspaceId }: { id: string; plaintextKey: string; workspaceId: string | null } = issued.data

  const rotated = await rotateApiKey({ ...address, path: { id }, body: { graceSeconds: 86400 } })
  if (rotated.error) throw refused(rotated.error.error)
  const successor: string = rotated.data.newKey.plaintextKey
  const grace: number = rotated.data.graceSeconds
  return [plaintextKey, successor, grace, workspaceId].join()
}

export async function letIn(key: string, ip: string): Promise<number | undefined> {
  const { data } = await verifyApiKey({ ...address, body: { key, ip, scopes: ['read:chat'] }, throwOnError: true })
  if (!data.valid) return undefined // from here on there is a key, and the compiler knows it
  const until: string = data.key.expiresAt
  console.log(until)
  return data.key.biasProfile?.categories.find((category) => category.enabled && category.action === 'block')?.threshold
}

export async function tidyUp(): Promise<void> {
  const unused: ApiKey[] = []
  let cursor: string | undefined
  do {
    const { data } = await listApiKeys({ ...address, query: { status: 'active', limit: 100, cursor }, throwOnError: true })
    unused.push(...data.items.filter((key) => key.lastUsedAt === null))
    cursor = data.nextCursor ?? undefined
  } while (cursor)
  for (const { id } of unused) {
    await updateApiKey({ ...address, path: { id }, body: { status: 'inactive', biasProfileId: null }, throwOnError: true })
    await revokeApiKey({ ...address, path: { id }, query: { permanent: true }, throwOnError: true })
  }
}

// @ts-expect-error A name that is missing is found when it is compiled.
export const nameless = () => issueApiKey({ ...address, body: { scopes: ['*'] } })

// @ts-expect-error So is a status that nobody may set.
export const undead = () => updateApiKey({ ...address, path: { id: '' }, body: { status: 'expired' } })

function refused({ code, message, details }: ErrorBody): Error {
  return new Error([code, message, details?.id, details?.retryAfter, ...Object.keys(details?.fields ?? {})].join(' '))
}
