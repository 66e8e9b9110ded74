package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moonlatch/moonlatch/store/storetest"
)

func TestAFolderThatCantBeMadeSaysThatDatabaseURLIsMissing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"serve", "migrate"} {
		moonlatch(t, []string{"ADDR=127.0.0.1:0", "DATA_DIR=" + filepath.Join(file, "data")}, "", command).
			expect(t, exitFailed, "DATABASE_URL is not set").expect(t, exitFailed, "set DATABASE_URL, or DATA_DIR")
	}
}

func TestServeRunsBehindAPoolerInSessionModeAlone(t *testing.T) {
	direct := storetest.Empty(t)
	s := serve(t, []string{"DATABASE_URL=" + storetest.Pooler(t, direct, "session"), "ADDR=127.0.0.1:0", "SHUTDOWN_DELAY=0s"})
	if got, said := s.get(t, "/readyz"); got != http.StatusOK {
		t.Errorf("/readyz answers %d %s", got, said)
	}
	if code := s.wait(t); code != exitDone {
		t.Errorf("exit %d: %s", code, s.stderr.String())
	}
	for _, mode := range []string{"transaction", "statement"} {
		env := []string{"DATABASE_URL=" + storetest.Pooler(t, direct, mode), "ADDR=127.0.0.1:0"}
		for _, command := range []string{"serve", "migrate"} {
			o := moonlatch(t, env, "", command)
			if lines := strings.Split(strings.TrimSpace(o.stderr), "\n"); o.code != exitFailed || !strings.Contains(lines[len(lines)-1], "set its pool_mode to session") {
				t.Errorf("%s in %s mode: exit %d, %s", command, mode, o.code, o.stderr)
			}
		}
	}
}
