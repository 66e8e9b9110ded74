package main

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/keyring"
)

func TestAnOperatorRotatesTheSigningKey(t *testing.T) {
	env := onDatabase(t)
	o := moonlatch(t, env, "", "signing-key", "rotate").expect(t, exitDone, "is published")
	said := regexp.MustCompile(`^The key (\S+) .* from (\S+) on\.\n`).FindStringSubmatch(o.stdout)
	if said == nil {
		t.Fatalf("it printed %q", o.stdout)
	}
	from, err := time.Parse(time.RFC3339, said[2])
	if wait := time.Until(from); err != nil || wait < 9*time.Minute || wait > 11*time.Minute {
		t.Errorf("it signs from %s, %v", said[2], err)
	}
	set, err := keyring.New(open(t, env)).JWKS(t.Context())
	if err != nil || len(set.Keys) != 2 || set.Keys[1].ID != said[1] {
		t.Errorf("published are %v, %v", set, err)
	}
	if again := moonlatch(t, env, "", "signing-key", "rotate").expect(t, exitDone, said[1]); again.stdout != o.stdout {
		t.Errorf("while that key waits another was made: %s", again.stdout)
	}
	moonlatch(t, env, "", "signing-key", "rotate", "now").expect(t, exitUsage, "no other arguments")
	if help := moonlatch(t, env, "", "signing-key", "rotate", "--help").expect(t, exitDone, "10 minutes"); !strings.Contains(help.stdout, "30 days") {
		t.Errorf("the help is %s", help.stdout)
	}
}
