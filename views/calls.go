package views

// secretPlaceholder stands where a reader puts the key.
const secretPlaceholder = "$MOONLATCH_API_KEY"

// curlWith is a ready call that presents a key as a bearer.
func curlWith(base, key string) string {
	return "curl " + base + "/v1/jobs \\\n  -H \"Authorization: Bearer " + key + "\""
}

func curlPlaceholder(base string) string { return curlWith(base, secretPlaceholder) }

func curlHeader(base string) string {
	return "curl " + base + "/v1/jobs \\\n  -H \"X-Api-Key: " + secretPlaceholder + "\""
}

// curlBasic shows HTTP Basic: the user is public, so that it can be written out; the pass is not.
func curlBasic(base, user string) string {
	return "curl " + base + "/v1/jobs \\\n  -u \"" + user + ":$MOONLATCH_API_PASS\""
}
