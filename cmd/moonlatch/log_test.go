package main

import (
	"encoding/json"
	"net"
	"strings"
	"testing"
)

// events reads a log in which every line has to be JSON.
func events(t *testing.T, text string) (out []map[string]any) {
	t.Helper()
	for line := range strings.Lines(text) {
		var event map[string]any
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Errorf("%q is plain text between the events", line)
		}
		out = append(out, event)
	}
	return out
}

func find(all []map[string]any, key, prefix string) int {
	n := 0
	for _, event := range all {
		if value, ok := event[key].(string); ok && strings.HasPrefix(value, prefix) {
			n++
		}
	}
	return n
}

func TestAJSONLogHoldsAllThatServePrints(t *testing.T) {
	env := append(onDatabase(t), "LOG_FORMAT=json", "LOG_LEVEL=error", "BASE_URL=https://keys.example.com")
	for _, c := range []struct {
		args        []string
		key, prefix string
		count       int
	}{
		{nil, "link", "https://keys.example.com/setup/", 1},
		{[]string{"--demo"}, "password", "", 5},
		{[]string{"--demo"}, "msg", "the database has an organisation already", 1},
	} {
		s := serve(t, env, c.args...)
		s.wait(t)
		if said := s.stdout.String(); said != "" {
			t.Errorf("serve %v printed %q", c.args, said)
		}
		all := events(t, s.stderr.String())
		if find(all, c.key, c.prefix) != c.count || find(all, "msg", "listening") != 1 {
			t.Errorf("serve %v logged %v", c.args, all)
		}
	}
}

func TestAJSONLogEndsWithTheError(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	for says, env := range map[string][]string{
		"taken by another program": {"ADDR=" + taken.Addr().String()},
		"ADDR: ":                   {"ADDR=wrong"},
	} {
		o := moonlatch(t, append(env, "LOG_FORMAT=json"), "", "serve")
		if all := events(t, o.stderr); o.code == exitDone || o.stdout != "" || find(all, "level", "ERROR") != 1 || !strings.Contains(o.stderr, says) {
			t.Errorf("exit %d, %q, %v", o.code, o.stdout, all)
		}
	}
}
