package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moonlatch/moonlatch/internal/keyring"
)

const (
	firstSecret  = "9mQe3kq0cPq3X8m2uYb1W7sVnTzR5dLh4JfGaKxCw6E="
	secondSecret = "Zt7Bv2NpLs9XqHw4RkYd8JmCf1GaUe6WoTi3EhKb5Ps="
)

func secretFile(t *testing.T, mode os.FileMode, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestASecretFileIsReadOrRefusedInOneSentence(t *testing.T) {
	good := secretFile(t, 0o640, "# the newest first", firstSecret, "", secondSecret+"\r")
	read, err := readSecretFile(good)
	if lines, _ := read.(secretLines); err != nil || len(lines) != 2 || string(lines[0]) != firstSecret || string(lines[1]) != secondSecret {
		t.Errorf("%q, %v", read, err)
	}
	var many []string
	for i := range 11 {
		many = append(many, fmt.Sprint(i, firstSecret))
	}
	for want, path := range map[string]string{
		"no such file":       filepath.Join(t.TempDir(), "none"),
		"is not a file":      t.TempDir(),
		"chmod 600":          secretFile(t, 0o604, firstSecret),
		"mode 0660":          secretFile(t, 0o660, firstSecret),
		"line 2 is shorter":  secretFile(t, 0o600, firstSecret, "correct horse"),
		"line 1 is easy":     secretFile(t, 0o600, strings.Repeat("ab", 20)),
		"line 2 repeats":     secretFile(t, 0o600, firstSecret, firstSecret),
		"has no secret":      secretFile(t, 0o600, "", "# none"),
		"has 11 secrets":     secretFile(t, 0o600, many...),
		"is not text":        secretFile(t, 0o600, "\xff\xfe"+firstSecret),
		"is larger than 64 ": secretFile(t, 0o600, strings.Repeat("# nothing\n", 7000)),
	} {
		o := moonlatch(t, []string{"MOONLATCH_SECRET_FILE=" + path, "DATA_DIR=" + t.TempDir()}, "", "migrate").expect(t, exitConfig, want)
		if !strings.Contains(o.stderr, "MOONLATCH_SECRET_FILE: ") || strings.Contains(o.stderr, firstSecret) || strings.Contains(o.stderr, "correct") {
			t.Errorf("%s: %s", want, o.stderr)
		}
	}
}

// TestSecretsAreRotatedAndReplicasThatDifferSaySo starts servers with one file after the other over one database.
func TestSecretsAreRotatedAndReplicasThatDifferSaySo(t *testing.T) {
	env := onDatabase(t)
	createUser(t, env, "Acme", "ada@acme.test", "owner")
	const warning = "lacks the secret"
	published := func(s *server) (ids []string) {
		_, text := s.get(t, "/.well-known/jwks.json")
		var set keyring.JWKS
		if err := json.Unmarshal([]byte(text), &set); err != nil {
			t.Fatal(err)
		}
		for _, key := range set.Keys {
			ids = append(ids, key.ID)
		}
		return ids
	}
	start := func(lines ...string) (ids []string, warned bool) {
		with := env
		if len(lines) > 0 {
			with = append(with[:len(with):len(with)], "MOONLATCH_SECRET_FILE="+secretFile(t, 0o600, lines...))
		}
		s := serve(t, with)
		ids = published(s)
		if code := s.wait(t); code != exitDone {
			t.Errorf("exit %d: %s", code, s.stderr.String())
		}
		return ids, strings.Contains(s.stderr.String(), warning)
	}
	own, warned := start()
	if warned || len(own) != 1 {
		t.Errorf("the first start: %v, warned %t", own, warned)
	}
	first, warned := start(firstSecret)
	if !warned || len(first) != 1 || first[0] == own[0] {
		t.Errorf("the first file: %v, warned %t", first, warned)
	}
	announced, warned := start(firstSecret, secondSecret)
	if warned || len(announced) != 2 || announced[0] != first[0] {
		t.Errorf("a second secret: %v, warned %t", announced, warned)
	}
	rotated, warned := start(secondSecret, firstSecret)
	if warned || len(rotated) != 2 || rotated[0] != announced[1] || rotated[1] != first[0] {
		t.Errorf("the second one first: %v, warned %t", rotated, warned)
	}
	if ids, warned := start(secondSecret); warned || len(ids) != 1 || ids[0] != rotated[0] {
		t.Errorf("without the earlier one: %v, warned %t", ids, warned)
	}
	if _, warned := start(firstSecret); !warned {
		t.Error("a replica that lacks the secret of the last one said nothing")
	}
	if _, warned := start(); !warned {
		t.Error("a replica without the file said nothing")
	}
}
